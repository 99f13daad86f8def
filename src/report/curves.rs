//! Learning curves: losses and accuracies over the epochs.

use plotters::prelude::*;

use super::cannot_draw;
use crate::train::EpochMetrics;
use crate::Result;

const SIZE: (u32, u32) = (960, 400);
const TRAINING: RGBColor = RGBColor(0x1f, 0x4e, 0x9e);
const VALIDATION: RGBColor = RGBColor(0xd9, 0x7a, 0x0b);

/// The name of a line, its colour, and its points: epochs and values.
type Line<'a> = (&'a str, RGBColor, Vec<(f64, f64)>);

/// An SVG picture of the losses and, where there are some, the accuracies of a run's epochs.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) when it cannot be drawn.
pub fn curves_svg(history: &[EpochMetrics]) -> Result<String> {
    labelled_curves_svg(history, "training (mean over batches)", "validation")
}

/// The same with other names of the curves, such as what is in one loss and not in the other.
pub(super) fn labelled_curves_svg(
    history: &[EpochMetrics],
    training: &str,
    validation: &str,
) -> Result<String> {
    let points = |value: &dyn Fn(&EpochMetrics) -> Option<f64>| -> Vec<(f64, f64)> {
        history.iter().filter_map(|m| Some((m.epoch as f64, value(m)?))).collect()
    };
    let losses = [
        (training, TRAINING, points(&|m| Some(m.train_loss))),
        (validation, VALIDATION, points(&|m| Some(m.valid_loss))),
    ];
    let accuracies = [
        ("last batch", TRAINING, points(&|m| m.acc_batch)),
        (validation, VALIDATION, points(&|m| m.valid_accuracy)),
    ];
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(cannot_draw)?;
        let has_accuracies = accuracies.iter().any(|(_, _, points)| !points.is_empty());
        if has_accuracies {
            let (left, right) = root.split_horizontally(SIZE.0 / 2);
            draw(&left, "loss", &losses)?;
            draw(&right, "accuracy", &accuracies)?;
        } else {
            draw(&root, "loss", &losses)?;
        }
        root.present().map_err(cannot_draw)?;
    }
    Ok(svg)
}

fn draw(
    area: &DrawingArea<SVGBackend, plotters::coord::Shift>,
    title: &str,
    lines: &[Line],
) -> Result<()> {
    let points = || lines.iter().flat_map(|(_, _, points)| points.iter().copied());
    let last = points().map(|(epoch, _)| epoch).fold(2., f64::max);
    let lowest = points().map(|(_, value)| value).fold(f64::INFINITY, f64::min);
    let highest = points().map(|(_, value)| value).fold(f64::NEG_INFINITY, f64::max);
    // A little room, also for a single point.
    let room = ((highest - lowest) * 0.05).max(highest.abs() * 1e-3).max(1e-6);
    let range = if lowest <= highest { lowest - room..highest + room } else { 0. ..1. };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(60)
        .build_cartesian_2d(1. ..last, range)
        .map_err(cannot_draw)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("epoch")
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .x_labels((last as usize).min(10))
        .draw()
        .map_err(cannot_draw)?;
    for (label, color, points) in lines.iter().filter(|(_, _, points)| !points.is_empty()) {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))
            .map_err(cannot_draw)?
            .label(*label)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        // Dots, where there is room for them: a single epoch is no line.
        if points.len() <= 40 {
            let dots = points.iter().map(|point| Circle::new(*point, 3, color.filled()));
            chart.draw_series(dots).map_err(cannot_draw)?;
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(cannot_draw)
}
