//! The confusion matrix.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::cannot_draw;
use crate::train::Confusion;
use crate::Result;

const CELL: i32 = 48;
const LEFT: i32 = 130;
const TOP: i32 = 60;
const CORRECT: RGBColor = RGBColor(0x2a, 0x8c, 0x55);
const WRONG: RGBColor = RGBColor(0xb3, 0x2d, 0x2d);

/// An SVG picture of a confusion matrix: a row for each label, a column for each predicted class.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) when it cannot be drawn.
pub fn confusion_svg(counts: &Confusion, names: &[&str; 10]) -> Result<String> {
    let mut svg = String::new();
    {
        let side = CELL * counts.len() as i32;
        let size = ((LEFT + side + 20) as u32, (TOP + side + 60) as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(cannot_draw)?;
        let text = |text: String, at: (i32, i32), size: i32, anchor: HPos| {
            let style = ("sans-serif", size).into_font().color(&BLACK);
            Text::new(text, at, style.pos(Pos::new(anchor, VPos::Center)))
        };
        let all: usize = counts.iter().flatten().sum();
        let right: usize = (0..counts.len()).map(|class| counts[class][class]).sum();
        let title = format!("validation: {right} of {all} right; rows are labels, columns answers");
        root.draw(&text(title, (12, 22), 15, HPos::Left)).map_err(cannot_draw)?;
        // Among thousands of right answers a single mistake is to be seen.
        let shade = |count: usize, of: usize| match count {
            0 => 0.,
            count => 0.12 + 0.88 * ((count as f64).ln_1p() / (of as f64).ln_1p()),
        };
        for (row, of_label) in counts.iter().enumerate() {
            let y = TOP + CELL * row as i32;
            let label = text(names[row].into(), (LEFT - 8, y + CELL / 2), 14, HPos::Right);
            root.draw(&label).map_err(cannot_draw)?;
            for (column, count) in of_label.iter().enumerate() {
                let x = LEFT + CELL * column as i32;
                let color = if row == column { CORRECT } else { WRONG };
                let color = color.mix(shade(*count, of_label.iter().sum()) * 0.75);
                let cell = [(x, y), (x + CELL - 2, y + CELL - 2)];
                root.draw(&Rectangle::new(cell, BLACK.mix(0.04).filled())).map_err(cannot_draw)?;
                root.draw(&Rectangle::new(cell, color.filled())).map_err(cannot_draw)?;
                if *count > 0 {
                    let middle = (x + CELL / 2 - 1, y + CELL / 2 - 1);
                    let count = text(count.to_string(), middle, 14, HPos::Center);
                    root.draw(&count).map_err(cannot_draw)?;
                }
            }
        }
        for (column, name) in names.iter().enumerate() {
            // Long names of neighbours, one higher than the other.
            let y = TOP + side + if name.len() > 6 && column % 2 == 1 { 34 } else { 16 };
            let x = LEFT + CELL * column as i32 + CELL / 2;
            root.draw(&text((*name).into(), (x, y), 14, HPos::Center)).map_err(cannot_draw)?;
        }
        root.present().map_err(cannot_draw)?;
    }
    Ok(svg)
}
