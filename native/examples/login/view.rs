//! What the pages look like. Every value is escaped by the template.

use core::time::Duration;

use maud::{DOCTYPE, Markup, html};
use session_native::{SessionHandle, Summary};

use crate::state::{App, UserSession};

pub(crate) const ARTICLES: [&str; 4] = ["apples", "pears", "plums", "quinces"];

type Session = SessionHandle<UserSession>;

fn page(session: &Session, path: &str, title: &str, content: &Markup) -> Markup {
    let messages: Vec<(String, String)> =
        session.flash(|flash| flash.iter().map(|(kind, text)| (kind.to_owned(), text.to_owned())).collect());
    let username = session.subject();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Session" }
                link rel="stylesheet" href="/style.css";
                link rel="icon" href="data:,";
            }
            body {
                a.skip href="#content" { "Skip to content" }
                header {
                    a.brand href="/" { "Session" }
                    nav aria-label="Main" {
                        @for (to, name) in [("/cart", "Cart"), ("/profile", "Profile"), ("/sessions", "Sessions"), ("/inspect", "Inside")] {
                            a href=(to) aria-current=[(to == path).then_some("page")] { (name) }
                        }
                    }
                    @match &username {
                        Some(name) => form method="post" action="/logout" {
                            span.who { (name) }
                            button.quiet { "Sign out" }
                        }
                        None => a.button href="/login" { "Sign in" },
                    }
                }
                main id="content" {
                    @for (kind, text) in &messages {
                        p.message data-kind=(kind) role="status" { (text) }
                    }
                    h1 { (title) }
                    (content)
                }
                footer { (expiry(session)) }
            }
        }
    }
}

fn expiry(session: &Session) -> Markup {
    let now = session.now();
    let (is_new, idle, absolute) = session
        .read(|session| (session.is_new(), session.expires_in(now), session.absolute_end().since(now)));
    html! {
        @if is_new {
            p { "No session: nothing is stored about you, and no cookie is set." }
        } @else {
            p { "This session ends in " b { (human(idle)) } " if you do nothing, and in " b { (human(absolute)) } " whatever you do." }
        }
    }
}

fn human(duration: Duration) -> String {
    let minutes = duration.as_secs().div_ceil(60);
    match minutes {
        0..120 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

pub(crate) fn home(app: &App, session: &Session) -> Markup {
    let username = session.subject();
    page(
        session,
        "/",
        "Hello",
        &html! {
            @match username {
                Some(name) => p.lead { "You are signed in as " b { (name) } "." }
                None => p.lead { "You are not signed in. " a href="/login" { "Sign in" } " with any name: there are no passwords here." }
            }
            p { "Sessions are kept in " (app.store_name()) "." }
            ul.tiles {
                li { a href="/cart" { b { "Cart" } span { "Requests that race, and lose nothing" } } }
                li { a href="/profile" { b { "Profile" } span { "Typed data, and a message after the redirect" } } }
                li { a href="/sessions" { b { "Sessions" } span { "Where you are signed in, and how to end it" } } }
                li { a href="/inspect" { b { "Inside" } span { "What the cookie holds, and what the server sees" } } }
            }
        },
    )
}

pub(crate) fn login(session: &Session, redirect_to: Option<&str>) -> Markup {
    page(
        session,
        "/login",
        "Sign in",
        &html! {
            form.stack method="post" action="/login" {
                label for="username" { "Name" }
                input id="username" name="username" required maxlength="64" autocomplete="username" autofocus;
                @if let Some(target) = redirect_to {
                    input type="hidden" name="redirect_to" value=(target);
                }
                button { "Sign in" }
            }
        },
    )
}

pub(crate) fn profile(session: &Session) -> Markup {
    let profile = session.read(|session| session.data().profile.clone());
    page(
        session,
        "/profile",
        "Profile",
        &html! {
            form.stack method="post" action="/profile" {
                label for="display_name" { "Display name" }
                input id="display_name" name="display_name" value=(profile.display_name) maxlength="80" autocomplete="name";
                label for="pronouns" { "Pronouns" }
                input id="pronouns" name="pronouns" value=[profile.pronouns.as_deref()] maxlength="40";
                label.check { input type="checkbox" name="newsletter" checked[profile.newsletter]; " Send me the newsletter" }
                button { "Save" }
            }
        },
    )
}

pub(crate) fn cart(session: &Session) -> Markup {
    let cart = session.read(|session| session.data().cart.clone());
    page(
        session,
        "/cart",
        "Cart",
        &html! {
            table {
                caption.hidden { "Articles and pieces" }
                thead { tr { th scope="col" { "Article" } th scope="col" { "Pieces" } th scope="col" { "Change" } } }
                tbody {
                    @for article in ARTICLES {
                        @let pieces = cart.get(article).copied().unwrap_or(0);
                        tr {
                            th scope="row" { (article) }
                            td data-article=(article) { (pieces) }
                            td {
                                form.inline method="post" action="/cart" {
                                    input type="hidden" name="article" value=(article);
                                    button name="pieces" value="1" aria-label={ "One more of " (article) } { "+" }
                                    button name="pieces" value="-1" aria-label={ "One less of " (article) } disabled[pieces == 0] { "−" }
                                }
                            }
                        }
                    }
                }
            }
            p { "Twenty requests at the same time, five for each article. Each changes the cart as it finds it; none is lost." }
            button id="race" type="button" { "Race" }
            p id="race-result" role="status" {}
            script src="/cart.js" defer {}
        },
    )
}

pub(crate) fn sessions(session: &Session, own: Option<Vec<Summary<UserSession>>>) -> Markup {
    let (now, current) = (session.now(), session.key());
    page(
        session,
        "/sessions",
        "Where you are signed in",
        &html! {
            @match own {
                None => p { "Sessions are in cookies: nobody keeps a list of them. What this server can do is to refuse every cookie of yours from before now." }
                Some(own) => {
                    table {
                        caption.hidden { "Your sessions" }
                        thead { tr { th scope="col" { "Browser" } th scope="col" { "Began" } th scope="col" { "Ends" } th scope="col" { "Key" } th scope="col" { "Sign out" } } }
                        tbody {
                            @for summary in own {
                                @let key = summary.key.to_string();
                                tr {
                                    th scope="row" { (summary.data.browser) }
                                    td { (human(now.since(summary.created_at))) " ago" }
                                    td { "in " (human(summary.expires_at.since(now))) }
                                    td { code { (key[..8]) "…" } }
                                    td {
                                        @if Some(summary.key) == current { "this one" } @else {
                                            form.inline method="post" action="/sessions/revoke" {
                                                input type="hidden" name="key" value=(key);
                                                button { "Sign out" }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                    form.inline method="post" action="/sessions/revoke-others" { button { "Sign out everywhere else" } }
                }
            }
            form.inline method="post" action="/sessions/revoke-all" { button.quiet { "Sign out everywhere" } }
        },
    )
}

pub(crate) fn inspect(app: &App, session: &Session, cookie_header: &str) -> Markup {
    let name = &app.config().cookie.name;
    let token = session_core::cookies(cookie_header.as_bytes(), name).next().unwrap_or_default();
    let header = session_core::Header::parse(token).ok();
    let seen = session.read(|session| {
        serde_json::json!({
            "key": session.key(),
            "subject": session.subject(),
            "rotation": session.rotation(),
            "saves": session.version().counter,
            "data": session.data(),
        })
    });
    page(
        session,
        "/inspect",
        "Inside",
        &html! {
            h2 { "What the browser holds" }
            @if let Some(header) = header {
                p { "A cookie named " code { (name) } ", " (token.len()) " characters, hidden from scripts. Without the key it tells this much:" }
                dl {
                    dt { "Format version" } dd { (header.version()) }
                    dt { "Kind" } dd { (match header.kind() {
                        session_core::Kind::CookieHeld => "the whole session",
                        _ => "a reference to a session in the store",
                    }) }
                    dt { "Key id" } dd { code { (header.key_id()) } }
                dt { "Expires" } dd { "in " (human(header.expires_at().since(session.now()))) }
                    dt { "Sealed payload" } dd { (header.ciphertext_len()) " bytes" }
                }
                pre { code { (String::from_utf8_lossy(&token[..token.len().min(32)])) "…" } }
            } @else {
                p { "No cookie named " code { (name) } "." }
            }
            h2 { "What the server sees" }
            pre { code { (serde_json::to_string_pretty(&seen).unwrap_or_default()) } }
        },
    )
}
