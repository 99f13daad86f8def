//! The forecast plot: what came, and what was forecast.

use plotters::prelude::*;

use super::cannot_draw;
use crate::Result;

const SIZE: (u32, u32) = (960, 400);
const TRUTH: RGBColor = RGBColor(0x1f, 0x4e, 0x9e);
const FORECAST: RGBColor = RGBColor(0xd9, 0x7a, 0x0b);
const NAIVE: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// An SVG picture of a series and a forecast of it.
///
/// - `known`: the last steps before the forecast begins
/// - `truth`: what came
/// - `forecast`, `naive`: the model's forecast, and the naive one that it is compared with
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) when it cannot be drawn.
pub fn forecast_svg(
    title: &str,
    known: &[f64],
    truth: &[f64],
    forecast: &[f64],
    naive: &[f64],
) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(cannot_draw)?;
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
            ("known", TRUTH, before),
            ("what came", TRUTH, joined(truth)),
            ("naive forecast", NAIVE, joined(naive)),
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
        for (label, color, points) in &lines {
            let width = if *label == "what came" { 1 } else { 2 };
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(width)))
                .map_err(cannot_draw)?
                .label(*label)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            if *label == "what came" {
                let dots = points.iter().map(|point| Circle::new(*point, 3, color.filled()));
                chart.draw_series(dots).map_err(cannot_draw)?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()
            .map_err(cannot_draw)?;
        root.present().map_err(cannot_draw)?;
    }
    Ok(svg)
}
