//! The pages: what a browser is served, and the forms it sends.

use axum::{
    Form, Router,
    extract::{Query, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use maud::Markup;
use serde::Deserialize;
use session_native::{
    Key, SessionHandle,
    axum::{RequireAuth, local_redirect},
};

use crate::{
    api::{self, Failure},
    state::{App, Profile, UserSession},
    view,
};

type Session = SessionHandle<UserSession>;

pub(crate) fn routes() -> Router<App> {
    let signed_in = Router::new()
        .route("/profile", get(profile).post(save_profile))
        .route("/sessions", get(sessions))
        .route("/sessions/revoke", post(revoke_one))
        .route("/sessions/revoke-others", post(revoke_others))
        .route("/sessions/revoke-all", post(revoke_all))
        .layer(RequireAuth::<UserSession>::redirect_to("/login"));
    Router::new()
        .merge(signed_in)
        .route("/", get(home))
        .route("/login", get(login_page).post(login))
        .route("/logout", post(logout))
        .route("/cart", get(cart).post(change_cart))
        .route("/inspect", get(inspect))
        .route("/style.css", get(async || ([(header::CONTENT_TYPE, "text/css")], include_str!("style.css"))))
        .route(
            "/cart.js",
            get(async || ([(header::CONTENT_TYPE, "text/javascript")], include_str!("cart.js"))),
        )
}

async fn home(State(app): State<App>, session: Session) -> Markup {
    view::home(&app, &session)
}

#[derive(Deserialize)]
struct Wanted {
    redirect_to: Option<String>,
}

async fn login_page(session: Session, Query(wanted): Query<Wanted>) -> Markup {
    view::login(&session, wanted.redirect_to.as_deref().and_then(local_redirect))
}

#[derive(Deserialize)]
struct Login {
    username: String,
    redirect_to: Option<String>,
}

async fn login(session: Session, headers: HeaderMap, Form(login): Form<Login>) -> Response {
    let username = match api::sign_in(&session, &headers, &login.username) {
        Ok(username) => username,
        Err(Failure::BadRequest(message)) => {
            session.flash(|flash| flash.set_error(message));
            return Redirect::to("/login").into_response();
        }
        Err(failure) => return failure.into_response(),
    };
    session.flash(|flash| flash.set_success(format!("Welcome, {username}.")));
    Redirect::to(login.redirect_to.as_deref().and_then(local_redirect).unwrap_or("/")).into_response()
}

async fn logout(session: Session) -> Result<Redirect, Failure> {
    session.destroy().await?;
    Ok(Redirect::to("/"))
}

async fn profile(session: Session) -> Markup {
    view::profile(&session)
}

#[derive(Deserialize)]
struct ProfileForm {
    display_name: String,
    pronouns: String,
    newsletter: Option<String>,
}

async fn save_profile(session: Session, Form(form): Form<ProfileForm>) -> Redirect {
    session.update(|data| {
        data.profile = Profile {
            display_name: form.display_name.trim().to_owned(),
            pronouns: Some(form.pronouns.trim().to_owned()).filter(|pronouns| !pronouns.is_empty()),
            newsletter: form.newsletter.is_some(),
        };
    });
    session.flash(|flash| flash.set_success("Your profile is saved."));
    Redirect::to("/profile")
}

async fn cart(session: Session) -> Markup {
    view::cart(&session)
}

#[derive(Deserialize)]
struct CartForm {
    article: String,
    /// Pieces to add; fewer than zero takes away.
    pieces: i32,
}

/// Exact, whatever other requests do to the cart at the same time.
async fn change_cart(session: Session, Form(form): Form<CartForm>) -> Result<Redirect, Failure> {
    if !view::ARTICLES.contains(&form.article.as_str()) {
        return Err(Failure::BadRequest("there is no such article"));
    }
    session
        .update_now(|data| {
            let pieces = data.cart.entry(form.article.clone()).or_default();
            *pieces = pieces.saturating_add_signed(form.pieces).min(999);
            data.cart.retain(|_, pieces| *pieces > 0);
        })
        .await?;
    Ok(Redirect::to("/cart"))
}

async fn sessions(State(app): State<App>, session: Session) -> Result<Markup, Failure> {
    let username = session.subject().ok_or(Failure::SignedOut)?;
    let own = app.sessions_of(&username).await?;
    Ok(view::sessions(&session, own))
}

#[derive(Deserialize)]
struct RevokeForm {
    key: String,
}

async fn revoke_one(
    State(app): State<App>,
    session: Session,
    Form(form): Form<RevokeForm>,
) -> Result<Redirect, Failure> {
    let username = session.subject().ok_or(Failure::SignedOut)?;
    let key: Key = form.key.parse().map_err(|_| Failure::BadRequest("that is not the key of a session"))?;
    let ended = app.revoke_one(&username, &key).await?;
    session.flash(|flash| {
        if ended {
            flash.set_success("That session is signed out.");
        } else {
            flash.set_info("That session had ended already.");
        }
    });
    Ok(Redirect::to("/sessions"))
}

async fn revoke_others(State(app): State<App>, session: Session) -> Result<Redirect, Failure> {
    let (username, key) = session.subject().zip(session.key()).ok_or(Failure::SignedOut)?;
    let ended = app.revoke_others(&username, &key).await?;
    session.flash(|flash| flash.set_success(format!("Signed out everywhere else: {ended}.")));
    Ok(Redirect::to("/sessions"))
}

async fn revoke_all(State(app): State<App>, session: Session) -> Result<Redirect, Failure> {
    let username = session.subject().ok_or(Failure::SignedOut)?;
    app.revoke_everywhere(&username).await?;
    session.destroy().await?;
    Ok(Redirect::to("/"))
}

async fn inspect(State(app): State<App>, session: Session, headers: HeaderMap) -> Markup {
    let cookie = headers.get(header::COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    view::inspect(&app, &session, cookie)
}
