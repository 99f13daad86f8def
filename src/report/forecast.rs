//! The forecast plot: true values, and what was forecast.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::cannot_draw;
use crate::Result;

const SIZE: (u32, u32) = (960, 400);
/// The width of the legend.
const LEGEND: u32 = 190;
const KNOWN: RGBColor = RGBColor(0x1f, 0x4e, 0x9e);
const TRUTH: RGBColor = RGBColor(0x2a, 0x8c, 0x55);
const FORECAST: RGBColor = RGBColor(0xd9, 0x7a, 0x0b);
const NAIVE: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// An SVG picture of a series and a forecast of it.
///
/// - `known`: the last steps before the forecast begins
/// - `truth`: the true values behind it
/// - `forecast`: the model's forecast
/// - `naive`: the one that it is compared with, and what that is called
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) when it cannot be drawn.
pub fn forecast_svg(
    title: &str,
    known: &[f64],
    truth: &[f64],
    forecast: &[f64],
    (naive_name, naive): (&str, &[f64]),
) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(cannot_draw)?;
        // The legend stands beside the lines, not on them.
        let (root, side) = root.split_horizontally(SIZE.0 - LEGEND);
        // The last known step joins them.
        let joined = |values: &[f64]| -> Vec<(f64, f64)> {
            let values = known.last().into_iter().chain(values);
            (0..).zip(values).map(|(step, value)| (f64::from(step), *value)).collect()
        };
        let before: Vec<(f64, f64)> = (0..)
            .zip(known)
            .map(|(step, value)| (f64::from(step) - (known.len() as f64 - 1.), *value))
            .collect();
        let lines = [
            ("known", KNOWN, before),
            ("true values", TRUTH, joined(truth)),
            (naive_name, NAIVE, joined(naive)),
            ("forecast", FORECAST, joined(forecast)),
        ];
        let values = || lines.iter().flat_map(|(_, _, points)| points.iter().map(|(_, y)| *y));
        let lowest = values().fold(f64::INFINITY, f64::min);
        let highest = values().fold(f64::NEG_INFINITY, f64::max);
        let room = ((highest - lowest) * 0.05).max(1e-9);
        let steps = -(known.len() as f64)..truth.len().max(forecast.len()) as f64 + 1.;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(38)
            .y_label_area_size(60)
            .build_cartesian_2d(steps, lowest - room..highest + room)
            .map_err(cannot_draw)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("step, from the last known one")
            .x_label_formatter(&|step| format!("{step:.0}"))
            .draw()
            .map_err(cannot_draw)?;
        for (_, color, points) in &lines {
            let width = if *color == TRUTH { 1 } else { 2 };
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(width)))
                .map_err(cannot_draw)?;
            if *color == TRUTH {
                let dots = points.iter().map(|point| Circle::new(*point, 3, color.filled()));
                chart.draw_series(dots).map_err(cannot_draw)?;
            }
        }
        for (row, (label, color, _)) in (0..).zip(&lines) {
            let y = 60 + 24 * row;
            let line = PathElement::new([(0, y), (18, y)], color.stroke_width(2));
            side.draw(&line).map_err(cannot_draw)?;
            if *color == TRUTH {
                side.draw(&Circle::new((9, y), 3, color.filled())).map_err(cannot_draw)?;
            }
            let style = ("sans-serif", 13).into_font().color(&BLACK);
            let style = style.pos(Pos::new(HPos::Left, VPos::Center));
            side.draw(&Text::new((*label).to_string(), (24, y), style)).map_err(cannot_draw)?;
        }
        root.present().map_err(cannot_draw)?;
    }
    Ok(svg)
}

/// The name of the naive forecast that repeats the value of `season` steps earlier.
pub(super) fn naive_name(season: usize) -> &'static str {
    if season > 1 {
        "seasonal naive forecast"
    } else {
        "naive forecast"
    }
}
