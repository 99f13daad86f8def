//! The paper (background) of a picture: noise, lighting, colour, and each pixel's distance from it.

use super::raster::Raster;

/// No more pixels than these are looked at for the colour of the paper.
const SAMPLES: usize = 100_000;
/// A pixel within this part of the contrast is alike.
const ALIKE: f32 = 0.06;

/// The median of `values`, 0 if there are none.
pub(super) fn median(values: &mut [f32]) -> f32 {
    if values.is_empty() {
        return 0.;
    }
    nth(values, values.len() / 2)
}

/// The value that would be at place `n` if `values` were sorted; there must be one.
pub(super) fn nth(values: &mut [f32], n: usize) -> f32 {
    *values.select_nth_unstable_by(n, f32::total_cmp).1
}

fn step(raster: &Raster, most: usize) -> usize {
    // Odd, so that samples do not stand in columns.
    (raster.width * raster.height / most).max(1) | 1
}

/// Smooths noise, as far as there is any and the size of the picture allows it.
///
/// Noise is the median second difference of neighbours: strokes and edges are too few to count.
pub(super) fn denoise(raster: &mut Raster) {
    let (width, height) = (raster.width, raster.height);
    if width < 3 {
        return;
    }
    let largest = width.min(height) as f32 / 100.;
    for plane in &mut raster.planes {
        let pick = (plane.len() / SAMPLES).max(1) | 1;
        let mut differences: Vec<f32> =
            plane.windows(3).step_by(pick).map(|w| (2. * w[1] - w[0] - w[2]).abs()).collect();
        let noise = median(&mut differences) / (0.6745 * 6f32.sqrt());
        let mut levels: Vec<f32> = plane.iter().step_by(pick).copied().collect();
        let few = levels.len() / 500;
        let last = levels.len() - 1 - few;
        let span = nth(&mut levels, last) - nth(&mut levels, few);
        // A Gaussian of radius s leaves noise / (2 s sqrt(pi)); a fifteenth of the ink is little.
        let radius = noise / (0.067 * span.max(1e-6) * 2. * std::f32::consts::PI.sqrt());
        let radius = radius.min(largest);
        if noise > 0.02 * span && radius >= 0.5 {
            blur(plane, width, height, radius);
        }
    }
}

/// A Gaussian of standard deviation `radius`, nearly: three boxes.
fn blur(plane: &mut [f32], width: usize, height: usize, radius: f32) {
    // Three boxes of reach r have the variance r (r + 1).
    let reach = ((0.25 + radius * radius).sqrt() - 0.5).round().max(1.) as usize;
    for _ in 0..3 {
        for row in plane.chunks_exact_mut(width) {
            box_line(row, reach);
        }
    }
    let mut column = vec![0.; height];
    for x in 0..width {
        for y in 0..height {
            column[y] = plane[y * width + x];
        }
        for _ in 0..3 {
            box_line(&mut column, reach);
        }
        for y in 0..height {
            plane[y * width + x] = column[y];
        }
    }
}

fn box_line(line: &mut [f32], reach: usize) {
    let sums: Vec<f64> = std::iter::once(0.)
        .chain(line.iter().scan(0f64, |sum, level| {
            *sum += f64::from(*level);
            Some(*sum)
        }))
        .collect();
    let len = line.len();
    for (at, level) in line.iter_mut().enumerate() {
        let (from, to) = (at.saturating_sub(reach), (at + reach + 1).min(len));
        *level = ((sums[to] - sums[from]) / (to - from) as f64) as f32;
    }
}

/// Replaces each pixel by the median of the 3 x 3 around it: single wrong pixels vanish.
pub(super) fn remove_single_pixels(raster: &mut Raster) {
    let (width, height) = (raster.width, raster.height);
    if width < 3 || height < 3 {
        return;
    }
    for plane in &mut raster.planes {
        let old = plane.clone();
        for y in 1..height - 1 {
            for x in 1..width - 1 {
                let mut around = [0.; 9];
                for (row, part) in around.chunks_exact_mut(3).enumerate() {
                    let from = (y + row - 1) * width + x - 1;
                    part.copy_from_slice(&old[from..from + 3]);
                }
                plane[y * width + x] = median(&mut around);
            }
        }
    }
}

/// The most frequent colour among the pixels for which `counts` says so.
pub(super) fn colour(raster: &Raster, counts: impl Fn(usize) -> bool) -> Vec<f32> {
    let grey = raster.planes.len() == 1;
    let bins = if grey { 64 } else { 16 };
    let sampled = |step: usize| -> Vec<usize> {
        (0..raster.planes[0].len()).step_by(step).filter(|at| counts(*at)).collect()
    };
    let mut pixels = sampled(step(raster, SAMPLES));
    if pixels.is_empty() {
        // A pattern of the samples' own period.
        pixels = sampled(1);
    }
    let ranges: Vec<(f32, f32)> = raster
        .planes
        .iter()
        .map(|plane| {
            let (low, high) = pixels.iter().fold((f32::MAX, f32::MIN), |(low, high), at| {
                (low.min(plane[*at]), high.max(plane[*at]))
            });
            (low, ((high - low) / bins as f32).max(1e-6))
        })
        .collect();
    let bin = |at: usize, plane: usize| -> usize {
        let (low, size) = ranges[plane];
        (((raster.planes[plane][at] - low) / size) as usize).min(bins - 1)
    };
    let planes = raster.planes.len();
    let index = |key: [usize; 3]| (key[0] * bins + key[1]) * bins + key[2];
    let mut counted = vec![0u32; bins.pow(3)];
    for at in &pixels {
        let mut key = [0; 3];
        for (plane, place) in key.iter_mut().enumerate().take(planes) {
            *place = bin(*at, plane);
        }
        counted[index(key)] += 1;
    }
    // With its neighbours, so that a peak between two bins counts whole.
    let mut best = (0u32, [0usize; 3]);
    let near = |at: usize| at.saturating_sub(1)..=(at + 1).min(bins - 1);
    let others = if grey { 1 } else { bins };
    for a in 0..bins {
        for b in 0..others {
            for c in 0..others {
                let here = counted[index([a, b, c])];
                if here == 0 {
                    continue;
                }
                let mut sum = here;
                for i in near(a) {
                    for j in near(b).filter(|_| !grey || b == 0) {
                        for k in near(c) {
                            sum += counted[index([i, j, k])];
                        }
                    }
                }
                if sum > best.0 {
                    best = (sum, [a, b, c]);
                }
            }
        }
    }
    let mut found: Vec<f32> = (0..planes)
        .map(|plane| ranges[plane].0 + (best.1[plane] as f32 + 0.5) * ranges[plane].1)
        .collect();
    for reach in [1.5, 0.75] {
        let alike = |at: &&usize| {
            (0..planes).all(|p| (raster.planes[p][**at] - found[p]).abs() <= reach * ranges[p].1)
        };
        let (mut count, mut sums) = (0, vec![0f64; planes]);
        for at in pixels.iter().filter(alike) {
            count += 1;
            for (sum, plane) in sums.iter_mut().zip(&raster.planes) {
                *sum += f64::from(plane[*at]);
            }
        }
        if count > 0 {
            found = sums.iter().map(|sum| (sum / f64::from(count)) as f32).collect();
        }
    }
    found
}

/// The distance of each pixel from `paper`: the largest difference of a channel.
pub(super) fn distance(raster: &Raster, paper: &[f32]) -> Vec<f32> {
    let mut distance = vec![0f32; raster.planes[0].len()];
    for (plane, paper) in raster.planes.iter().zip(paper) {
        for (distance, level) in distance.iter_mut().zip(plane) {
            *distance = distance.max((level - paper).abs());
        }
    }
    distance
}

/// Takes smoothly uneven lighting away: subtracts a second-degree surface from each channel where
/// far more pixels lie on it than have one colour. Says whether it did.
pub(super) fn even_lighting(raster: &mut Raster, paper: &[f32]) -> bool {
    let contrast = raster.contrast();
    let (width, height) = (raster.width, raster.height);
    let pixels: Vec<usize> = (0..width * height).step_by(step(raster, 6_000)).collect();
    let terms = |at: usize| -> [f64; 6] {
        let x = 2. * (at % width) as f64 / width as f64 - 1.;
        let y = 2. * (at / width) as f64 / height as f64 - 1.;
        [1., x, y, x * x, x * y, y * y]
    };
    let mut surfaces = Vec::new();
    for (plane, paper) in raster.planes.iter().zip(paper) {
        let alike = |residual: f32| residual.abs() <= ALIKE * contrast;
        let flat = pixels.iter().filter(|at| alike(plane[**at] - paper)).count();
        let Some(surface) = fit(plane, &pixels, terms) else { return false };
        let on_it = |at: &&usize| alike(plane[**at] - value(&surface, terms(**at)));
        let curved = pixels.iter().filter(on_it).count();
        surfaces.push((surface, flat, curved));
    }
    let share = |count: usize| count as f64 / pixels.len() as f64;
    let worst = |pick: fn(&([f64; 6], usize, usize)) -> usize| {
        surfaces.iter().map(|found| share(pick(found))).fold(1., f64::min)
    };
    let (flat, curved) = (worst(|found| found.1), worst(|found| found.2));
    if curved < 0.6 || curved < flat + 0.08 {
        return false;
    }
    for (plane, (surface, ..)) in raster.planes.iter_mut().zip(&surfaces) {
        for (at, level) in plane.iter_mut().enumerate() {
            *level -= value(surface, terms(at));
        }
    }
    true
}

fn value(surface: &[f64; 6], terms: [f64; 6]) -> f32 {
    surface.iter().zip(terms).map(|(a, b)| a * b).sum::<f64>() as f32
}

/// A surface fitted to most pixels: least squares, weighed anew by what each pixel is off.
fn fit(plane: &[f32], pixels: &[usize], terms: impl Fn(usize) -> [f64; 6]) -> Option<[f64; 6]> {
    let mut weights = vec![1f64; pixels.len()];
    let mut surface = [0.; 6];
    for _ in 0..12 {
        let mut system = [[0f64; 7]; 6];
        for (at, weight) in pixels.iter().zip(&weights) {
            let row = terms(*at);
            for (i, line) in system.iter_mut().enumerate() {
                for (j, term) in row.iter().enumerate() {
                    line[j] += weight * row[i] * term;
                }
                line[6] += weight * row[i] * f64::from(plane[*at]);
            }
        }
        surface = solve(system)?;
        let off: Vec<f32> =
            pixels.iter().map(|at| plane[*at] - value(&surface, terms(*at))).collect();
        let scale = 1.5 * median(&mut off.iter().map(|r| r.abs()).collect::<Vec<_>>()).max(1e-4);
        weights = off.iter().map(|r| 1. / (1. + f64::from(r / scale).powi(2)).powi(2)).collect();
    }
    Some(surface)
}

/// Gaussian elimination of `(6, 6 | 1)`; `None` if the rows are not independent.
fn solve(mut system: [[f64; 7]; 6]) -> Option<[f64; 6]> {
    for column in 0..6 {
        let pivot = (column..6)
            .max_by(|a, b| system[*a][column].abs().total_cmp(&system[*b][column].abs()))?;
        system.swap(column, pivot);
        let pivot = system[column][column].abs();
        if pivot.is_nan() || pivot <= 1e-9 {
            return None;
        }
        let lead = system[column];
        for (row, line) in system.iter_mut().enumerate() {
            if row != column {
                let factor = line[column] / lead[column];
                for (value, lead) in line.iter_mut().zip(lead) {
                    *value -= factor * lead;
                }
            }
        }
    }
    Some(std::array::from_fn(|row| system[row][6] / system[row][row]))
}

/// The distance that parts ink from paper (Otsu, 1979, "A Threshold Selection Method from
/// Gray-Level Histograms"), well above the paper's own noise.
pub(super) fn threshold(distance: &[f32]) -> f32 {
    const BINS: usize = 256;
    let top = distance.iter().copied().fold(0., f32::max);
    if top.is_nan() || top <= 0. {
        return f32::MAX;
    }
    let mut counts = [0f64; BINS];
    for value in distance {
        counts[((value / top * BINS as f32) as usize).min(BINS - 1)] += 1.;
    }
    let total: f64 = counts.iter().sum();
    let mean: f64 = counts.iter().enumerate().map(|(bin, n)| bin as f64 * n).sum::<f64>() / total;
    let (mut below, mut sum, mut best) = (0., 0., (0., 0usize, 0usize));
    for (bin, count) in counts.iter().enumerate().take(BINS - 1) {
        below += count;
        sum += bin as f64 * count;
        if below == 0. || below == total {
            continue;
        }
        let apart = (mean * below - sum).powi(2) / (below * (total - below));
        if apart > best.0 * (1. + 1e-9) {
            best = (apart, bin, bin);
        } else if apart >= best.0 * (1. - 1e-9) {
            best.2 = bin;
        }
    }
    // Among equal thresholds the middle one.
    let otsu = ((best.1 + best.2) as f32 / 2. + 1.) / BINS as f32 * top;
    let pick = (distance.len() / SAMPLES).max(1) | 1;
    let noise = median(&mut distance.iter().step_by(pick).copied().collect::<Vec<_>>());
    (0.8 * otsu).max((5. * noise).min(0.6 * top))
}
