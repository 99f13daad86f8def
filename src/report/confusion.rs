//! The confusion matrix.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::cannot_draw;
use crate::wording::escaped;
use crate::Result;

const TOP: i32 = 60;
const CORRECT: RGBColor = RGBColor(0x2a, 0x8c, 0x55);
const WRONG: RGBColor = RGBColor(0xb3, 0x2d, 0x2d);
/// The side of the matrix, which cells share where there are many.
const SIDE: i32 = 480;
/// The side of a cell, at most and at least.
const CELL: std::ops::RangeInclusive<i32> = 12..=48;
/// Cells at least so wide have room for a number.
const NUMBERED: i32 = 26;
/// Characters of a name that are shown.
const NAME: usize = 16;
/// Classes from which only the most confused ones are drawn, and how many these are.
const MANY: usize = 100;
const MOST_CONFUSED: usize = 60;

/// An SVG picture of a confusion matrix: a row for each label, a column for each predicted class. Of 100 classes or
/// more it shows the 60 with the most mistakes.
///
/// - `counts`: `(C, C)`, how often each class was predicted for the examples of each
/// - `names`: of the C classes
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) when it cannot be drawn.
pub fn confusion_svg(counts: &[Vec<usize>], names: &[String]) -> Result<String> {
    confusion_svg_of("validation", counts, names)
}

/// The same of a split of this name.
pub(super) fn confusion_svg_of(
    split: &str,
    counts: &[Vec<usize>],
    names: &[String],
) -> Result<String> {
    let mut svg = String::new();
    {
        let shown = shown_classes(counts);
        let classes = shown.len() as i32;
        let cell = (SIDE / classes.max(1)).clamp(*CELL.start(), *CELL.end());
        let name = |class: &usize| names.get(*class).map_or_else(String::new, |name| cut(name));
        let names: Vec<String> = shown.iter().map(name).collect();
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as i32;
        let left = 30 + 8 * longest.max(4);
        // Names that are wider than their column stand upright.
        let is_upright = 8 * longest > 2 * cell;
        let bottom = if is_upright { 20 + 8 * longest } else { 50 };
        let side = cell * classes;
        let size = ((left + side + 20).max(440) as u32, (TOP + side + bottom) as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(cannot_draw)?;
        let height = if cell < 20 { cell - 2 } else { 14 };
        let text = |text: String, at: (i32, i32), size: i32, anchor: HPos| {
            let style = ("sans-serif", size).into_font().color(&BLACK);
            Text::new(text, at, style.pos(Pos::new(anchor, VPos::Center)))
        };
        let all: usize = counts.iter().flatten().sum();
        let right: usize = counts.iter().enumerate().map(|(class, row)| row[class]).sum();
        let mut title =
            format!("{split}: {right} of {all} right; rows: true class, columns: predicted class");
        if shown.len() < counts.len() {
            title = format!(
                "{split}: {right} of {all} right; the {} most confused of {} classes, rows: true, columns: predicted",
                shown.len(),
                counts.len()
            );
        }
        root.draw(&text(title, (12, 22), 15, HPos::Left)).map_err(cannot_draw)?;
        // Among thousands of right answers a single mistake is to be seen.
        let shade = |count: usize, of: usize| match count {
            0 => 0.,
            count => 0.12 + 0.88 * ((count as f64).ln_1p() / (of as f64).ln_1p()),
        };
        let matrix = [(left, TOP), (left + side - 2, TOP + side - 2)];
        root.draw(&Rectangle::new(matrix, BLACK.mix(0.04).filled())).map_err(cannot_draw)?;
        for (row, label) in shown.iter().enumerate() {
            let of_label = &counts[*label];
            let all: usize = of_label.iter().sum();
            let y = TOP + cell * row as i32;
            let name = names.get(row).cloned().unwrap_or_default();
            let label = text(name, (left - 8, y + cell / 2), height, HPos::Right);
            root.draw(&label).map_err(cannot_draw)?;
            let cells = shown.iter().map(|class| of_label[*class]).enumerate();
            for (column, count) in cells.filter(|(_, count)| *count > 0) {
                let x = left + cell * column as i32;
                let color = if row == column { CORRECT } else { WRONG };
                let color = color.mix(shade(count, all) * 0.75);
                let square = [(x, y), (x + cell - 2, y + cell - 2)];
                root.draw(&Rectangle::new(square, color.filled())).map_err(cannot_draw)?;
                if cell >= NUMBERED {
                    let inside = (x + cell / 2 - 1, y + cell / 2 - 1);
                    let count = text(count.to_string(), inside, height, HPos::Center);
                    root.draw(&count).map_err(cannot_draw)?;
                }
            }
        }
        for (column, name) in names.iter().enumerate() {
            let x = left + cell * column as i32 + cell / 2;
            if is_upright {
                let style = ("sans-serif", height).into_font().transform(FontTransform::Rotate90);
                let style = style.color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
                let name = Text::new(name.clone(), (x, TOP + side + 6), style);
                root.draw(&name).map_err(cannot_draw)?;
                continue;
            }
            // Long names of neighbours, one higher than the other.
            let y = TOP + side + if name.len() > 6 && column % 2 == 1 { 34 } else { 16 };
            root.draw(&text(name.clone(), (x, y), height, HPos::Center)).map_err(cannot_draw)?;
        }
        root.present().map_err(cannot_draw)?;
    }
    Ok(svg)
}

/// The classes that are drawn, in their order.
fn shown_classes(counts: &[Vec<usize>]) -> Vec<usize> {
    let all = 0..counts.len();
    if counts.len() < MANY {
        return all.collect();
    }
    let mut mistakes = vec![0; counts.len()];
    for (label, row) in counts.iter().enumerate() {
        for (class, count) in row.iter().enumerate().filter(|(class, _)| *class != label) {
            mistakes[label] += count;
            mistakes[class] += count;
        }
    }
    let mut worst: Vec<usize> = all.collect();
    worst.sort_by_key(|class| std::cmp::Reverse(mistakes[*class]));
    worst.truncate(MOST_CONFUSED);
    worst.sort_unstable();
    worst
}

/// A name as it is drawn: on one line, with an ellipsis where it is cut.
fn cut(name: &str) -> String {
    let name = escaped(name);
    if name.chars().count() <= NAME {
        return name.into_owned();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_classes_the_most_confused_are_drawn() {
        let classes = 1_000;
        let names: Vec<String> =
            (0..classes).map(|class| format!("class number {class}")).collect();
        let mut counts = vec![vec![0; classes]; classes];
        (0..classes).for_each(|class| counts[class][class] = 9);
        counts[700][3] = 5;
        let svg = confusion_svg(&counts, &names).unwrap();
        assert!(svg.len() < 100_000, "{}", svg.len());
        assert!(svg.contains("the 60 most confused of 1000 classes"));
        assert_eq!(svg.matches("class number 700").count(), 2);
        assert_eq!(cut("a name of many letters"), "a name of many …");
        assert_eq!(svg.matches("class number 3").count(), 2 * 11);
    }

    #[test]
    fn empty_cells_are_not_drawn() {
        let names: Vec<String> = (0..50).map(|class| class.to_string()).collect();
        let mut counts = vec![vec![0; 50]; 50];
        (0..50).for_each(|class| counts[class][class] = 1);
        let svg = confusion_svg(&counts, &names).unwrap();
        // The page, the matrix and the cells above 0.
        assert_eq!(svg.matches("<rect").count(), 52);
    }
}
