//! Bars, as one SVG: a panel for each load, a bar for each contender, and a line from the least to the greatest value.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figure::number;
use crate::report::Row;

const WIDTH: u32 = 860;
/// Where bars begin, behind the names, and how much is kept for the number behind a bar.
const NAMES: i32 = 300;
const NUMBERS: i32 = 70;
/// Heights of a panel's title and of a bar with its distance to the next.
const TITLE: i32 = 34;
const LINE: i32 = 20;
const BAR: i32 = 14;
/// Of polypath at an end, of the kernel alone (Okabe and Ito: people with colour blindness can tell them apart).
const POLYPATH: RGBColor = RGBColor(0, 114, 178);
const KERNEL: RGBColor = RGBColor(150, 150, 150);
const TEXT: RGBColor = RGBColor(60, 60, 60);

type DrawResult = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The picture of all rows that have a value.
///
/// # Errors
/// Whatever the drawing library says; nothing is known that it would.
pub fn svg(rows: &[Row]) -> Result<String, String> {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.rate.is_some()).collect();
    let panels: Vec<&[&Row]> = rows.chunk_by(|a, b| a.load == b.load).collect();
    let height: i32 = panels.iter().map(|panel| TITLE + LINE * panel.len() as i32).sum::<i32>() + 12;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
        let mut top = 0;
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        for panel in panels {
            draw(&root, panel, top).map_err(|error| error.to_string())?;
            top += TITLE + LINE * panel.len() as i32;
        }
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

fn draw(root: &Area<'_>, panel: &[&Row], top: i32) -> DrawResult {
    let style = |size: i32, h: HPos| ("sans-serif", size).into_font().color(&TEXT).pos(Pos::new(h, VPos::Center));
    let title = panel.first().map_or_else(String::new, |row| format!("{}, {}", row.load, row.unit));
    root.draw_text(&title, &style(15, HPos::Left), (12, top + TITLE - 12))?;
    let greatest = panel.iter().filter_map(|row| row.rate).map(|rate| rate.max).fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(WIDTH as i32 - NAMES - NUMBERS);
    let place = |value: f64| NAMES + (value.max(0.0) / greatest * room) as i32;
    for (index, row) in panel.iter().enumerate() {
        let Some(rate) = row.rate else { continue };
        let middle = top + TITLE + LINE * index as i32 + LINE / 2;
        let colour = if row.who.contains("polypath") { POLYPATH } else { KERNEL };
        root.draw_text(&row.who, &style(12, HPos::Right), (NAMES - 8, middle))?;
        let corners = [(NAMES, middle - BAR / 2), (place(rate.median), middle + BAR / 2)];
        root.draw(&Rectangle::new(corners, colour.filled()))?;
        root.draw(&PathElement::new(vec![(place(rate.min), middle), (place(rate.max), middle)], TEXT.stroke_width(1)))?;
        root.draw_text(&number(rate.median), &style(12, HPos::Left), (place(rate.max) + 6, middle))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Case, Load, Way, Who};
    use crate::plan::Comparison;
    use crate::report::{Pairs, rows};
    use crate::run::Sample;

    #[test]
    fn everybody_who_was_measured_has_a_bar_with_a_number() {
        let case = |who| Case::between(Load::Bulk(Way::Up), who, 2);
        let sample = |rate| Sample { rate, units: 1.0, ..Sample::default() };
        let comparison =
            Comparison { subject: case(Who::Library), reference: case(Who::KernelMptcp), claims: Vec::new(), pairs: 2 };
        let pairs = Pairs(vec![(sample(21.0), sample(15.0)), (sample(23.0), sample(16.0))]);
        let svg = svg(&rows(&[(comparison, pairs)])).unwrap();
        for text in ["bulk, Gbit/s", "kernel MPTCP x2", "polypath x2", "22.0", "15.5"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }
}
