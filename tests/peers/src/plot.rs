//! Charts as SVG: bars from the left, in groups, with the quartiles as whiskers.

use std::path::Path;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::report::{Bar, Chart};

/// Pixels.
const WIDTH: i32 = 900;
const LEFT: i32 = 330;
const RIGHT: i32 = 90;
const TOP: i32 = 56;
const BAR: i32 = 18;
const GROUP: i32 = 34;

const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb5);
const THEIRS: RGBColor = RGBColor(0xa9, 0xb4, 0xbf);
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);

type Drawn = Result<(), Box<dyn std::error::Error>>;

pub fn draw(chart: &Chart, directory: &Path) -> Drawn {
    let bars: i32 = chart.groups.iter().map(|(_, bars)| GROUP + BAR * bars.len() as i32).sum();
    let file = directory.join(format!("{}.svg", chart.name));
    let area = SVGBackend::new(&file, (WIDTH as u32, (TOP + bars + 20) as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    text(&area, &chart.title, (16, 16), 18, HPos::Left)?;
    text(&area, &format!("{}; a scale for each group", chart.unit), (WIDTH - 16, 18), 13, HPos::Right)?;
    let mut y = TOP;
    for (name, bars) in &chart.groups {
        text(&area, name, (16, y), 14, HPos::Left)?;
        y += GROUP - 12;
        // Each group has a scale of its own: within it bars are compared.
        let longest = bars.iter().map(|bar| bar.value.high).fold(f64::MIN_POSITIVE, f64::max);
        for bar in bars {
            draw_bar(&area, bar, y, f64::from(WIDTH - LEFT - RIGHT) / longest)?;
            y += BAR;
        }
        y += 12;
    }
    area.present()?;
    Ok(())
}

fn draw_bar(area: &DrawingArea<SVGBackend<'_>, Shift>, bar: &Bar, y: i32, scale: f64) -> Drawn {
    let x = |value: f64| LEFT + (value.max(0.0) * scale) as i32;
    let colour = if bar.name.starts_with("session") { OURS } else { THEIRS };
    text(area, &bar.name, (LEFT - 8, y + 2), 12, HPos::Right)?;
    area.draw(&Rectangle::new([(LEFT, y + 2), (x(bar.value.median), y + BAR - 3)], colour.filled()))?;
    let middle = y + BAR / 2;
    area.draw(&PathElement::new([(x(bar.value.low), middle), (x(bar.value.high), middle)], INK))?;
    let value = bar.value.median;
    let value = if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    text(area, &value, (x(bar.value.high) + 6, y + 2), 12, HPos::Left)
}

fn text(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    text: &str,
    at: (i32, i32),
    size: i32,
    side: HPos,
) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&INK).pos(Pos::new(side, VPos::Top));
    area.draw(&Text::new(text, at, style))?;
    Ok(())
}
