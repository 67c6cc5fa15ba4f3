//! Small pictures, as SVG to stand in a page: throughput over time, goodput over the receive window.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::report::Curve;

/// Size in pixels.
const SIZE: (u32, u32) = (380, 200);
/// Colours that people with colour blindness can tell apart (Okabe and Ito), without black.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(240, 228, 66),
];
const GREYS: [RGBColor; 3] = [RGBColor(40, 40, 40), RGBColor(130, 130, 130), RGBColor(180, 180, 180)];
const TEXT: RGBColor = RGBColor(80, 80, 80);
const GRID: RGBColor = RGBColor(228, 228, 228);
const OUTAGE: RGBColor = RGBColor(213, 94, 0);

type DrawResult<T> = Result<T, Box<dyn std::error::Error>>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// What a picture shows.
pub(super) struct Picture<'a> {
    pub(super) curves: &'a [Curve],
    /// So many of them, from the first on, are in colour and on top of the others; the rest, to compare with, is grey.
    pub(super) coloured: usize,
    pub(super) x: Axis,
    /// From 0 to here; what lies higher is drawn here.
    pub(super) top: f64,
    /// Shaded, from one x to the other.
    pub(super) shade: Option<(f64, f64)>,
    /// A level to be reached.
    pub(super) level: Option<f64>,
}

/// What runs along the horizontal axis, from where to where.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Axis {
    /// Seconds, from 0 on.
    Seconds(f64),
    /// KB in doubling steps.
    Doubling(f64, f64),
}

impl Axis {
    fn place(self, x: f64) -> f64 {
        match self {
            Axis::Seconds(_) => x,
            Axis::Doubling(..) => x.max(f64::MIN_POSITIVE).log2(),
        }
    }

    fn range(self) -> std::ops::Range<f64> {
        match self {
            Axis::Seconds(end) => 0.0..end.max(0.1),
            Axis::Doubling(from, to) => self.place(from)..self.place(to).max(self.place(from) + 0.1),
        }
    }

    fn label(self, place: f64) -> String {
        match self {
            Axis::Seconds(_) => format!("{place:.0}"),
            Axis::Doubling(..) if place >= 10.0 => format!("{:.0}M", (place - 10.0).exp2()),
            Axis::Doubling(..) => format!("{:.0}K", place.exp2()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Axis::Seconds(_) => "s",
            Axis::Doubling(..) => "receive window (bytes)",
        }
    }
}

/// The picture as an SVG element.
///
/// # Errors
/// Whatever the drawing library says; nothing is known that it would.
pub(super) fn svg(picture: &Picture<'_>) -> Result<String, String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&root, picture).map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

/// As it stands in a page's style sheet.
pub(super) fn css_colour(index: usize, coloured: usize) -> String {
    let RGBColor(red, green, blue) = colour(index, coloured);
    format!("rgb({red},{green},{blue})")
}

fn colour(index: usize, coloured: usize) -> RGBColor {
    match index.checked_sub(coloured) {
        None => COLOURS[index % COLOURS.len()],
        Some(index) => GREYS[index % GREYS.len()],
    }
}

fn draw(root: &DrawingArea<SVGBackend<'_>, Shift>, picture: &Picture<'_>) -> DrawResult<()> {
    let mut chart = ChartBuilder::on(root)
        .margin_right(10)
        .margin_top(8)
        .x_label_area_size(34)
        .y_label_area_size(38)
        .build_cartesian_2d(picture.x.range(), 0.0..picture.top)?;
    let style = ("sans-serif", 11).into_font().color(&TEXT);
    let decimals = usize::from(picture.top < 5.0);
    chart
        .configure_mesh()
        .x_labels(8)
        .y_labels(5)
        .x_desc(picture.x.name())
        .x_label_formatter(&|place| picture.x.label(*place))
        .y_label_formatter(&|value| format!("{value:.decimals$}"))
        .bold_line_style(GRID)
        .light_line_style(WHITE)
        .axis_style(RGBColor(150, 150, 150))
        .axis_desc_style(style.clone())
        .label_style(style)
        .draw()?;
    marks(&mut chart, picture)?;
    for (index, curve) in picture.curves.iter().enumerate().rev() {
        let points = curve.points.iter().map(|(x, y)| (picture.x.place(*x), y.min(picture.top)));
        let width = if index < picture.coloured { 2 } else { 1 };
        chart.draw_series(LineSeries::new(points, colour(index, picture.coloured).stroke_width(width)))?;
    }
    root.present()?;
    Ok(())
}

fn marks(chart: &mut Chart<'_, '_>, picture: &Picture<'_>) -> DrawResult<()> {
    let range = picture.x.range();
    if let Some((from, to)) = picture.shade {
        let corners = [(from.min(range.end), 0.0), (to.min(range.end), picture.top)];
        chart.draw_series(std::iter::once(Rectangle::new(corners, OUTAGE.mix(0.12).filled())))?;
    }
    if let Some(level) = picture.level {
        let line = [(range.start, level), (range.end, level)];
        chart.draw_series(DashedLineSeries::new(line, 5, 4, OUTAGE.stroke_width(1)))?;
    }
    Ok(())
}
