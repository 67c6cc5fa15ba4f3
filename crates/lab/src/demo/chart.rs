//! The picture: each path's throughput over time, with the cut shaded and events marked.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::baseline::Baseline;
use super::trace::{EventRecord, Sample, throughput};
use crate::scenario::PathSpec;

/// Size in pixels.
const SIZE: (u32, u32) = (1100, 620);
/// Height of titles and legend.
const HEAD: u32 = 96;
/// Distance of points, and the time each is the mean of.
const STEP: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_millis(300);
/// Colours that people with colour blindness can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];
const TEXT: RGBColor = RGBColor(60, 60, 60);
const CUT: RGBColor = RGBColor(213, 94, 0);
const GREY: RGBColor = RGBColor(130, 130, 130);
const FONT: &str = "sans-serif";
/// Rows for the labels of events, above the curves.
const LABEL_ROWS: usize = 4;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// What the picture shows.
pub(super) struct Picture<'a> {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) paths: &'a [PathSpec],
    pub(super) samples: &'a [Sample],
    /// When the first path was cut, and when it came back.
    pub(super) cut_at: Option<Duration>,
    pub(super) return_at: Option<Duration>,
    pub(super) events: &'a [EventRecord],
    /// A line to compare with.
    pub(super) plain_tcp: Option<&'a Baseline>,
}

/// Draws the picture into an SVG file.
pub(super) fn write(path: &Path, picture: &Picture<'_>) -> anyhow::Result<()> {
    let svg = draw(picture).map_err(|error| anyhow!("{error}"))?;
    Ok(std::fs::write(path, svg)?)
}

type DrawResult<T> = Result<T, Box<dyn std::error::Error>>;

fn draw(picture: &Picture<'_>) -> DrawResult<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(HEAD);
        titles(&head, picture)?;
        legend(&head, picture)?;
        let frame = Frame::new(picture);
        let mut chart = axes(&body, &frame)?;
        shade_cut(&mut chart, &frame, picture)?;
        curves(&mut chart, &frame)?;
        plain_tcp(&mut chart, &frame, picture)?;
        markers(&mut chart, &frame, picture)?;
        root.present()?;
    }
    Ok(svg)
}

/// The curves, and how far the axes must reach.
struct Frame {
    curves: Vec<Vec<(f64, f64)>>,
    /// Seconds.
    end: f64,
    /// Mbit/s: what the curves need, and room for the events' labels.
    top: f64,
}

impl Frame {
    fn new(picture: &Picture<'_>) -> Self {
        let curve = |index| throughput(picture.samples, index, STEP, WINDOW);
        let curves: Vec<_> = (0..picture.paths.len()).map(curve).collect();
        let highest = curves.iter().flatten().map(|&(_, rate)| rate).fold(1.0, f64::max);
        let end = picture.samples.last().map_or(1.0, |sample| sample.at.as_secs_f64());
        Self { curves, end: end.max(0.1), top: highest * 1.35 }
    }
}

fn style(size: u32, colour: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour)
}

fn titles(head: &Area<'_>, picture: &Picture<'_>) -> DrawResult<()> {
    head.draw(&Text::new(picture.title.as_str(), (20, 14), style(24, TEXT)))?;
    head.draw(&Text::new(picture.subtitle.as_str(), (20, 44), style(15, TEXT)))?;
    Ok(())
}

/// One line under the titles, where no curve can run behind it.
fn legend(head: &Area<'_>, picture: &Picture<'_>) -> DrawResult<()> {
    let paths = picture.paths.iter().enumerate();
    let mut entries: Vec<_> = paths.map(|(index, path)| (colour(index), label(path))).collect();
    if let Some(best) = picture.plain_tcp {
        entries.push((GREY, format!("goodput of plain TCP on {} alone: {:.1} Mbit/s", best.name, best.mbit)));
    }
    let mut x = 20;
    for (colour, text) in entries {
        let y = HEAD as i32 - 18;
        head.draw(&Rectangle::new([(x, y - 2), (x + 20, y + 2)], colour.filled()))?;
        head.draw(&Text::new(text.clone(), (x + 28, y - 7), style(14, TEXT)))?;
        x += 60 + 15 * text.chars().count() as i32 / 2;
    }
    Ok(())
}

fn axes<'a, 'b>(area: &'a Area<'b>, frame: &Frame) -> DrawResult<Chart<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin_left(12)
        .margin_right(24)
        .margin_bottom(8)
        .x_label_area_size(46)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..frame.end, 0.0..frame.top)?;
    chart
        .configure_mesh()
        .x_desc("time since the program was started (s)")
        .y_desc("throughput on the link (Mbit/s)")
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .bold_line_style(RGBColor(225, 225, 225))
        .light_line_style(WHITE)
        .axis_style(RGBColor(120, 120, 120))
        .axis_desc_style(style(15, TEXT))
        .label_style(style(13, TEXT))
        .draw()?;
    Ok(chart)
}

fn shade_cut(chart: &mut Chart<'_, '_>, frame: &Frame, picture: &Picture<'_>) -> DrawResult<()> {
    let Some(cut) = picture.cut_at.map(|at| at.as_secs_f64()) else {
        return Ok(());
    };
    let back = picture.return_at.map_or(frame.end, |at| at.as_secs_f64());
    let shade = Rectangle::new([(cut, 0.0), (back, frame.top)], CUT.mix(0.10).filled());
    chart.draw_series(std::iter::once(shade))?;
    Ok(())
}

fn curves(chart: &mut Chart<'_, '_>, frame: &Frame) -> DrawResult<()> {
    for (index, points) in frame.curves.iter().enumerate() {
        let colour = colour(index);
        chart.draw_series(AreaSeries::new(points.iter().copied(), 0.0, colour.mix(0.18)))?;
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
    }
    Ok(())
}

const fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

fn label(path: &PathSpec) -> String {
    let rate = path.down.rate.map_or_else(|| "no limit".into(), |rate| rate.to_string());
    let rtt = (path.up.delay + path.down.delay).as_millis();
    let loss = if path.down.loss > 0.0 { format!(", {} % loss", path.down.loss * 100.0) } else { String::new() };
    format!("{}: {rate}, {rtt} ms{loss}", path.name)
}

/// What plain TCP gets on the best path, as a line to compare with.
fn plain_tcp(chart: &mut Chart<'_, '_>, frame: &Frame, picture: &Picture<'_>) -> DrawResult<()> {
    let Some(best) = picture.plain_tcp else {
        return Ok(());
    };
    let line = [(0.0, best.mbit), (frame.end, best.mbit)];
    chart.draw_series(DashedLineSeries::new(line, 6, 5, GREY.stroke_width(1)))?;
    Ok(())
}

/// A vertical line for each event, with labels in rows so that neighbours do not cover each other.
fn markers(chart: &mut Chart<'_, '_>, frame: &Frame, picture: &Picture<'_>) -> DrawResult<()> {
    let shown = picture.events.iter().filter(|event| !matches!(event.event.as_str(), "connected" | "closed"));
    for (index, event) in shown.enumerate() {
        let ours = matches!(event.event.as_str(), "cut" | "return");
        let colour = if ours { CUT } else { TEXT };
        let height = frame.top * (0.985 - 0.05 * (index % LABEL_ROWS) as f64);
        let line = [(event.seconds, 0.0), (event.seconds, height)];
        chart.draw_series(std::iter::once(PathElement::new(line, colour.mix(0.6).stroke_width(1))))?;
        let text = Text::new(event.text(), offset(event, frame), style(13, colour));
        chart.draw_series(std::iter::once(EmptyElement::at((event.seconds, height)) + text))?;
    }
    Ok(())
}

/// Where a label stands, from its event's line in pixels: to the right, or to the left where the picture ends.
fn offset(event: &EventRecord, frame: &Frame) -> (i32, i32) {
    let width = 7 * event.text().chars().count() as i32;
    let room = (frame.end - event.seconds) / frame.end * f64::from(SIZE.0 - 92);
    if f64::from(width) < room { (5, 0) } else { (-5 - width, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Count, Rate};

    /// Wi-Fi at 40 Mbit/s, silent from 4 s to 9 s; LTE at 19 Mbit/s; 12 s in all.
    fn download() -> (Vec<Sample>, Vec<EventRecord>) {
        let sample = |i: u64| {
            let wifi = (i.min(400) + i.saturating_sub(900)) * 50_000;
            let delivered = [wifi, i * 24_000].map(|bytes| Count { packets: 0, bytes });
            Sample { at: Duration::from_millis(10 * i), delivered: delivered.into() }
        };
        let event = |seconds, event: &str, name: &str| EventRecord {
            seconds,
            event: event.into(),
            name: Some(name.into()),
            reason: None,
        };
        let samples = (0..=1200).map(sample).collect();
        let events = vec![
            event(0.05, "subflow_established", "wifi"),
            event(0.11, "subflow_established", "lte"),
            event(4.0, "cut", "wifi"),
            event(4.3, "subflow_stalled", "wifi"),
            event(9.0, "return", "wifi"),
            event(9.4, "subflow_recovered", "wifi"),
            event(11.9, "subflow_closed", "lte"),
            event(12.0, "closed", "lte"),
        ];
        (samples, events)
    }

    #[test]
    fn the_picture_names_paths_axes_and_events() {
        let ms = Duration::from_millis;
        let paths = [
            PathSpec::new("wifi", Rate::mbit(50), ms(20), ms(20)).with_loss(0.005),
            PathSpec::new("lte", Rate::mbit(20), ms(60), ms(100)),
        ];
        let (samples, events) = download();
        let svg = draw(&Picture {
            title: "curl downloads 40 MB".into(),
            subtitle: "arrived whole".into(),
            paths: &paths,
            samples: &samples,
            cut_at: Some(ms(4000)),
            return_at: Some(ms(9000)),
            events: &events,
            plain_tcp: Some(&Baseline { name: "lte".into(), mbit: 17.9 }),
        })
        .unwrap();
        for part in [
            "curl downloads 40 MB",
            "wifi: 50 Mbit/s, 20 ms, 0.5 % loss",
            "lte: 20 Mbit/s, 60 ms",
            "throughput on the link (Mbit/s)",
            "(s)",
            "wifi: cut",
            "wifi: subflow recovered",
        ] {
            assert!(svg.contains(part), "{part:?} is missing");
        }
        assert!(!svg.contains("lte: closed"), "the end of everything needs no marker");
    }
}
