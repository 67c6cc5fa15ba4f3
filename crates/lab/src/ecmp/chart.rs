//! The picture: the flows of each contender, from the one that got least to the one that got most.

use anyhow::anyhow;
use plotters::prelude::*;

use super::account::{mean, worst};
use super::{CORE, Contender, Report};

/// Size in pixels, and how much of the height is for titles and legend.
const SIZE: (u32, u32) = (900, 540);
const HEAD: u32 = 140;
/// Colours that people with colour blindness can tell apart (Okabe and Ito), by contenders.
const COLOURS: [RGBColor; 3] = [RGBColor(213, 94, 0), RGBColor(86, 180, 233), RGBColor(0, 114, 178)];
const TEXT: RGBColor = RGBColor(60, 60, 60);

/// What one contender's flows got, in ascending order.
struct Ranked {
    label: String,
    colour: RGBColor,
    mbit: Vec<f64>,
}

pub(super) fn svg(report: &Report) -> anyhow::Result<String> {
    let ranked: Vec<Ranked> =
        Contender::ALL.into_iter().zip(COLOURS).filter_map(|(who, colour)| rank(report, who, colour)).collect();
    draw(report, &ranked).map_err(|error| anyhow!("{error}"))
}

fn rank(report: &Report, contender: Contender, colour: RGBColor) -> Option<Ranked> {
    let name = contender.to_string();
    let rounds = report.rounds.iter().filter(|round| round.contender == name);
    let mut mbit: Vec<f64> = rounds.flat_map(super::Round::mbit).collect();
    mbit.sort_by(f64::total_cmp);
    let who = match contender {
        Contender::Tcp => "TCP".to_owned(),
        Contender::Mptcp(subflows) => format!("MPTCP, {subflows} subflows"),
    };
    let label = format!("{who}: mean {:.1}, worst flow {:.1} Mbit/s", mean(&mbit), worst(&mbit));
    (!mbit.is_empty()).then_some(Ranked { label, colour, mbit })
}

fn style(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&TEXT)
}

fn draw(report: &Report, ranked: &[Ranked]) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(HEAD);
        let settings = &report.settings;
        let title = format!("{} hosts, {} paths of equal cost", settings.hosts, settings.paths);
        head.draw(&Text::new(title, (20, 12), style(22)))?;
        let subtitle = format!(
            "{} rounds of {} s, {} Mbit/s for each path and host, {} (seed {}); dashed: means",
            settings.rounds, settings.seconds, settings.core_mbit, settings.congestion, report.seed
        );
        head.draw(&Text::new(subtitle, (20, 42), style(14)))?;
        for (row, Ranked { label, colour, .. }) in ranked.iter().enumerate() {
            let y = 74 + 20 * row as i32;
            head.draw(&Rectangle::new([(20, y - 2), (44, y + 2)], colour.filled()))?;
            head.draw(&Text::new(label.clone(), (54, y - 7), style(14)))?;
        }
        let flows = ranked.iter().map(|ranked| ranked.mbit.len()).max().unwrap_or(1);
        let highest = ranked.iter().flat_map(|ranked| &ranked.mbit).copied().fold(0.0, f64::max);
        let top = (CORE.as_bits_per_second() as f64 / 1e6).max(highest) * 1.05;
        let mut chart = ChartBuilder::on(&body)
            .margin_left(12)
            .margin_right(24)
            .margin_bottom(8)
            .x_label_area_size(46)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..flows as f64, 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc("flows, by what they got")
            .y_desc("goodput (Mbit/s)")
            .x_label_formatter(&|rank| format!("{rank:.0}"))
            .y_label_formatter(&|rate| format!("{rate:.0}"))
            .bold_line_style(RGBColor(225, 225, 225))
            .light_line_style(WHITE)
            .axis_style(RGBColor(120, 120, 120))
            .axis_desc_style(style(15))
            .label_style(style(13))
            .draw()?;
        for Ranked { colour, mbit, .. } in ranked {
            // Each flow is a step one wide.
            let steps =
                mbit.iter().enumerate().flat_map(|(rank, mbit)| [(rank as f64, *mbit), (rank as f64 + 1.0, *mbit)]);
            chart.draw_series(LineSeries::new(steps, colour.stroke_width(2)))?;
            let line = [(0.0, mean(mbit)), (flows as f64, mean(mbit))];
            chart.draw_series(DashedLineSeries::new(line, 5, 5, colour.stroke_width(1)))?;
        }
        root.present()?;
    }
    Ok(svg)
}
