//! Detection of the digit in a picture: paper, frames, and the strokes that belong together.

use super::doubt::Doubt;
use super::frame::{border_share, inside_frame};
use super::paper;
use super::parts::{self, Part, Parts};
use super::raster::{Raster, Rect};
use super::stroke::Distances;

/// The smallest difference of levels, of 1, that shows anything: 3 of 255, 656 of 65,535.
pub(super) const CONTRAST: f32 = 0.01;
/// How often a frame is taken off.
const FRAMES: usize = 3;

/// The digit, cut out.
pub(super) struct Found {
    pub(super) width: usize,
    /// The ink of each pixel, 0 to 1, `(height, width)`.
    pub(super) ink: Vec<f32>,
    pub(super) doubt: Option<Doubt>,
}

/// The ink of a picture: how far each pixel is from the paper, and which are ink.
struct Ink {
    distance: Vec<f32>,
    mask: Vec<bool>,
}

/// Finds the digit; `None` if all pixels are nearly alike.
pub(super) fn find(mut raster: Raster) -> Option<Found> {
    let contrast = raster.contrast();
    if contrast.is_nan() || contrast < CONTRAST {
        return None;
    }
    paper::denoise(&mut raster);
    Some(search(raster, 0, false))
}

fn search(mut raster: Raster, depth: usize, mut clean: bool) -> Found {
    let (width, height) = (raster.width, raster.height);
    let mut paper = paper::colour(&raster, |_| true);
    let uneven = raster.clone();
    if paper::even_lighting(&mut raster, &paper) {
        if raster.contrast_inside() >= CONTRAST {
            paper = paper::colour(&raster, |_| true);
        } else {
            raster = uneven;
        }
    }
    let mut ink = ink(&raster, &paper);
    let mut found = parts::label(&ink.mask, &ink.distance, width, true);
    // What most pixels are is paper; where it is a near thing, the border decides, unless it is a
    // frame with little in it.
    let share = ink.mask.iter().filter(|ink| **ink).count() as f32 / ink.mask.len() as f32;
    let framed = || {
        inside_frame(&found, &raster).is_some_and(|inner| {
            let rows = inner.top..inner.bottom;
            let inked =
                rows.flat_map(|y| &ink.mask[y * width + inner.left..y * width + inner.right]);
            let inked = inked.filter(|ink| **ink).count();
            inked * 5 <= inner.width() * inner.height() * 2
        })
    };
    let at_border = share > 0.35 && border_share(&ink.mask, width, height) > 0.5;
    if share > 0.65 || (at_border && !framed()) {
        paper = paper::colour(&raster, |at| ink.mask[at]);
        ink = self::ink(&raster, &paper);
        found = parts::label(&ink.mask, &ink.distance, width, true);
    }
    let single = found.list.iter().filter(|part| part.area <= 2).count();
    if !clean && single > 50 && width.min(height) >= 56 {
        clean = true;
        paper::remove_single_pixels(&mut raster);
        ink = self::ink(&raster, &paper);
        found = parts::label(&ink.mask, &ink.distance, width, true);
    }
    if depth < FRAMES {
        if let Some(inner) = inside_frame(&found, &raster) {
            let inner = raster.crop(inner);
            if inner.contrast_inside() >= CONTRAST {
                return search(inner, depth + 1, clean);
            }
        }
    }
    if depth < FRAMES {
        if let Some(paler) = without_specks(&raster, &paper, &found) {
            let found = search(paler, depth + 1, clean);
            if found.doubt.is_none() {
                return found;
            }
        }
    }
    let Some(group) = Group::new(&found.list, width, height) else {
        return Found { width, ink: ink.distance, doubt: Some(Doubt::Clutter) };
    };
    group.cut_out(&raster, &ink, &found)
}

fn ink(raster: &Raster, paper: &[f32]) -> Ink {
    let distance = paper::distance(raster, paper);
    let threshold = paper::threshold(&distance);
    let mask = distance.iter().map(|distance| *distance >= threshold).collect();
    Ink { distance, mask }
}

/// The picture with paper in the place of specks and strips, where nothing else is ink: so dark that a paler digit
/// is below the threshold that parts them from the paper.
fn without_specks(raster: &Raster, paper: &[f32], found: &Parts) -> Option<Raster> {
    let (width, height) = (raster.width, raster.height);
    let is_speck = |part: &Part| {
        let (w, h) = (part.rect.width(), part.rect.height());
        let is_compact = part.area * 3 >= w * h * 2 && w <= 2 * h && h <= 2 * w;
        is_strip(part, width, height)
            || (is_compact && part.rect.longest() * 100 <= 8 * width.min(height))
    };
    let is_other = |part: &Part| !is_speck(part);
    if found.list.is_empty() || found.list.len() > 50 || found.list.iter().any(is_other) {
        return None;
    }
    let mut paler = raster.clone();
    for part in &found.list {
        // Blur and compression leave a margin of it.
        let margin = 2 + part.rect.width().min(part.rect.height()) / 4;
        let rect = part.rect.grown(margin, width, height);
        for (plane, paper) in paler.planes.iter_mut().zip(paper) {
            for y in rect.top..rect.bottom {
                plane[y * width + rect.left..y * width + rect.right].fill(*paper);
            }
        }
    }
    (paler.contrast() >= CONTRAST).then_some(paler)
}

/// The parts that make one digit.
struct Group {
    /// Whether each part of the picture is one of them.
    members: Vec<bool>,
    rect: Rect,
    doubt: Option<Doubt>,
}

impl Group {
    /// The largest ink mass and what plausibly belongs to it; `None` if there is no ink.
    fn new(list: &[Part], width: usize, height: usize) -> Option<Self> {
        let at_border = |part: &Part| {
            part.rect.left == 0
                || part.rect.top == 0
                || part.rect.right == width
                || part.rect.bottom == height
        };
        let strips: Vec<bool> = list.iter().map(|part| is_strip(part, width, height)).collect();
        let heaviest = |allowed: &dyn Fn(usize) -> bool| {
            (0..list.len())
                .filter(|part| allowed(*part))
                .max_by(|a, b| list[*a].mass.total_cmp(&list[*b].mass))
        };
        // A whole shape goes before one that the border cuts.
        let any = heaviest(&|part| !strips[part]).or_else(|| heaviest(&|_| true))?;
        let size = width.min(height) as f32;
        let main = heaviest(&|part| {
            !strips[part]
                && !at_border(&list[part])
                && list[part].rect.longest() as f32 >= 0.12 * size
                && list[part].mass >= 0.1 * list[any].mass
        })
        .unwrap_or(any);
        let mut group =
            Self { members: vec![false; list.len()], rect: list[main].rect, doubt: None };
        let mut mass = list[main].mass;
        let stroke = list[main].stroke();
        group.members[main] = true;
        let pieces: Vec<usize> = (0..list.len())
            .filter(|part| !strips[*part] && list[*part].mass >= 0.02 * mass)
            .collect();
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for index in pieces.iter().copied() {
                let part = &list[index];
                if group.members[index] {
                    continue;
                }
                if part.mass >= 0.02 * mass && belongs(&group.rect, mass, stroke, part) {
                    group.members[index] = true;
                    group.rect = group.rect.union(&part.rect);
                    mass += part.mass;
                    changed = true;
                }
            }
        }
        let others = || (0..list.len()).filter(|part| !strips[*part] && !group.members[*part]);
        let longest = group.rect.longest() as f32;
        let like_a_digit = |part: usize| {
            let Part { mass: other, rect, .. } = &list[part];
            *other >= 0.12 * mass
                && rect.longest() as f32 >= 0.4 * longest
                && rect.height() as f32 >= 0.2 * rect.width() as f32
        };
        let count = others().filter(|part| like_a_digit(*part)).count();
        let rest: f64 =
            others().filter(|part| list[*part].area > 2).map(|part| list[part].mass).sum();
        if count > 0 && count <= 12 {
            group.doubt = Some(Doubt::Several);
        } else if count > 0 || rest > 0.6 * mass {
            group.doubt = Some(Doubt::Clutter);
        }
        Some(group)
    }

    /// The ink of this digit alone, and what is doubtful about its shape.
    fn cut_out(self, raster: &Raster, ink: &Ink, found: &Parts) -> Found {
        let (width, height) = (raster.width, raster.height);
        let area = self.rect.grown(3 + self.rect.longest() / 20, width, height);
        let inside = |at: usize| {
            let label = found.labels[at];
            label > 0 && self.members[label as usize - 1]
        };
        let place =
            |at: usize| (area.top + at / area.width()) * width + area.left + at % area.width();
        let mask: Vec<bool> =
            (0..area.width() * area.height()).map(|at| inside(place(at))).collect();
        let shape = Distances::new(&mask, area.width());
        let doubt = self
            .doubt
            .or_else(|| self.doubt_of_shape(&mask, &shape, area.width(), (width, height)));
        let local = raster.crop(area);
        let strength = strength(&local, &mask, |at| ink.mask[place(at)])
            .unwrap_or_else(|| (0..mask.len()).map(|at| ink.distance[place(at)]).collect());
        // Its edges are soft, and what is near it is not its.
        let reach = -(2. + 0.25 * shape.stroke());
        let mut own: Vec<f32> = strength
            .iter()
            .enumerate()
            .map(|(at, ink)| {
                let other = found.labels[place(at)] > 0 && !mask[at];
                if other || shape.signed[at] < reach {
                    0.
                } else {
                    ink.max(0.)
                }
            })
            .collect();
        let mut levels: Vec<f32> =
            own.iter().zip(&mask).filter(|(_, mask)| **mask).map(|(ink, _)| *ink).collect();
        let fifth = levels.len() * 4 / 5;
        let full = if levels.is_empty() { 1. } else { paper::nth(&mut levels, fifth).max(1e-6) };
        for ink in &mut own {
            *ink = (*ink / full).min(1.);
        }
        Found { width: area.width(), ink: own, doubt }
    }

    /// A doubt about the shape: a blob, a pattern, far wider than tall, or cut by the border.
    fn doubt_of_shape(
        &self,
        mask: &[bool],
        shape: &Distances,
        width: usize,
        (full_width, full_height): (usize, usize),
    ) -> Option<Doubt> {
        let rect = self.rect;
        let (w, h) = (rect.width() as f32, rect.height() as f32);
        if w > 1.8 * h || shape.thickest() > 0.5 * w.max(h) {
            return Some(Doubt::Shape);
        }
        let pieces = parts::label(mask, &vec![1.; mask.len()], width, false);
        let total: f64 = pieces.list.iter().map(|part| part.mass).sum();
        let large = pieces.list.iter().filter(|part| part.mass >= 0.03 * total).count();
        let outside: Vec<bool> = mask.iter().map(|ink| !ink).collect();
        let gaps = parts::label(&outside, &vec![1.; mask.len()], width, false);
        let height = mask.len() / width;
        let holes = gaps.list.iter().filter(|gap| {
            let Rect { left, top, right, bottom } = gap.rect;
            let inside = left > 0 && top > 0 && right < width && bottom < height;
            inside && gap.area >= 6 && gap.area as f32 >= 0.003 * w * h
        });
        let at_border = [
            (rect.left == 0, h),
            (rect.right == full_width, h),
            (rect.top == 0, w),
            (rect.bottom == full_height, w),
        ];
        // The share of the touched sides that is ink.
        let touched = at_border.iter().filter(|(touches, _)| *touches).count();
        // Slanted lines of a pixel or two hang together by corners alone.
        let pattern = (large > 8 && shape.stroke() >= 3.) || holes.count() > 4;
        let contact = border_contact(mask, width, &at_border.map(|(touches, _)| touches));
        if pattern || (touched >= 2 && contact > 0.45 * (w + h)) {
            return Some(Doubt::Clutter);
        }
        None
    }
}

/// The number of ink pixels at the sides of the cut that are sides of the picture:
/// left, right, top, bottom.
fn border_contact(mask: &[bool], width: usize, sides: &[bool; 4]) -> f32 {
    let height = mask.len() / width;
    let column = |x: usize| (0..height).filter(|y| mask[y * width + x]).count();
    let row = |y: usize| (0..width).filter(|x| mask[y * width + x]).count();
    let counts = [
        sides[0].then(|| column(0)),
        sides[1].then(|| column(width - 1)),
        sides[2].then(|| row(0)),
        sides[3].then(|| row(height - 1)),
    ];
    counts.into_iter().flatten().sum::<usize>() as f32
}

/// Whether a part is a line along a border, or a horizontal one from border to border.
fn is_strip(part: &Part, width: usize, height: usize) -> bool {
    let Rect { left, top, right, bottom } = part.rect;
    let (w, h) = (part.rect.width(), part.rect.height());
    let thin = |across: usize, side: usize| across <= 1 + side / 50;
    let at_side = left == 0 || right == width;
    let at_end = top == 0 || bottom == height;
    (left == 0 && right == width && h * 20 <= height)
        || (at_end && w * 10 >= width * 8 && h * 10 <= height)
        || (at_side && h * 10 >= height * 8 && w * 10 <= width)
        || (at_end && thin(h, height) && w >= 3 * h)
        || (at_side && thin(w, width) && h >= 3 * w)
}

/// Whether a part is a piece of the digit with the bounding box `group`.
fn belongs(group: &Rect, mass: f64, stroke: f32, part: &Part) -> bool {
    let gap = |low: usize, high: usize, other_low: usize, other_high: usize| {
        (other_low as f32 - high as f32).max(low as f32 - other_high as f32)
    };
    let rect = &part.rect;
    let across = gap(group.left, group.right, rect.left, rect.right);
    let down = gap(group.top, group.bottom, rect.top, rect.bottom);
    let longest = group.longest() as f32;
    let near = (0.08 * longest).max(1.2 * stroke).max(2.);
    let narrow = group.width().min(rect.width()) as f32;
    // Side by side, and both tall: two slanted digits, not a stroke of one.
    let tall = rect.height() as f32 >= 0.65 * group.height() as f32;
    if tall && part.mass >= 0.25 * mass && -across < 0.25 * narrow && across > -longest {
        return across <= (0.04 * longest).max(2.) && across > -0.25 * narrow && {
            // A vertical stroke of a 4 beside its hook is much narrower than the hook.
            (rect.width().min(group.width()) as f32) < 0.35 * longest
        };
    }
    if across.max(0.).hypot(down.max(0.)) <= near {
        return true;
    }
    // A bar above or below, such as that of a 5.
    down <= 0.2 * longest && -across >= 0.5 * narrow && part.mass <= 0.6 * mass
}

/// How far each pixel is from the paper around the digit towards its ink: 0 to 1 and beyond.
/// `None` if the ink has several colours, of which some are not on the way.
fn strength(local: &Raster, mask: &[bool], is_ink: impl Fn(usize) -> bool) -> Option<Vec<f32>> {
    let (mut paper, mut ink) = (Vec::new(), Vec::new());
    for plane in &local.planes {
        let mut outside: Vec<f32> =
            (0..mask.len()).filter(|at| !is_ink(*at)).map(|at| plane[at]).collect();
        let mut inside: Vec<f32> =
            (0..mask.len()).filter(|at| mask[*at]).map(|at| plane[at]).collect();
        if outside.is_empty() || inside.is_empty() {
            return None;
        }
        paper.push(paper::median(&mut outside));
        ink.push(paper::median(&mut inside));
    }
    let towards: Vec<f32> = ink.iter().zip(&paper).map(|(ink, paper)| ink - paper).collect();
    let square = towards.iter().map(|t| t * t).sum::<f32>();
    if square.is_nan() || square <= 0. {
        return None;
    }
    let strength: Vec<f32> = (0..mask.len())
        .map(|at| {
            let along = local.planes.iter().zip(&towards).zip(&paper);
            along.map(|((plane, towards), paper)| (plane[at] - paper) * towards).sum::<f32>()
                / square
        })
        .collect();
    let ink = strength.iter().zip(mask).filter(|(_, mask)| **mask);
    let (lost, all) =
        ink.fold((0, 0), |(lost, all), (s, _)| (lost + usize::from(*s < 0.25), all + 1));
    (lost * 20 <= all).then_some(strength)
}
