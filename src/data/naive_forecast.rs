//! Naive and seasonal naive forecasts, which a model's forecast starts from and is compared with.

use super::dataset::SequenceValues;

/// The naive forecast: each step repeats the value of a season earlier, or of as many seasons as it takes to be
/// within the window. K times I numbers.
///
/// - `window`: the known steps, of I `features` each
/// - `horizon`: K, the number of steps that are forecast
/// - `season`: 1 for the last known value; more for the seasonal naive forecast
pub(super) fn naive_forecast(
    window: SequenceValues,
    features: usize,
    horizon: usize,
    season: usize,
) -> Vec<f64> {
    let known = filled(floats(window), features.max(1));
    let steps = known.len() / features.max(1);
    let season = season.clamp(1, steps.max(1));
    (0..horizon)
        .flat_map(|step| {
            let start = (steps - season + step % season) * features;
            known[start..start + features].to_vec()
        })
        .collect()
}

/// The values as numbers.
pub(crate) fn floats(values: SequenceValues) -> Vec<f64> {
    match values {
        SequenceValues::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        SequenceValues::U8(values) => values.iter().map(|value| f64::from(*value) / 255.).collect(),
    }
}

/// The values with each missing one replaced by the one before it, or else by the first one behind it.
pub(super) fn filled(mut values: Vec<f64>, features: usize) -> Vec<f64> {
    if !values.iter().any(|value| value.is_nan()) {
        return values;
    }
    for at in features..values.len() {
        if values[at].is_nan() {
            values[at] = values[at - features];
        }
    }
    for at in (0..values.len().saturating_sub(features)).rev() {
        if values[at].is_nan() {
            values[at] = values[at + features];
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_season_is_repeated_and_what_is_missing_is_filled_in() {
        let window = [f32::NAN, 10., 2., 20., 3., f32::NAN, 4., 40.];
        let naive = |season| naive_forecast(SequenceValues::F32(&window), 2, 3, season);
        assert_eq!(naive(1), [4., 40., 4., 40., 4., 40.]);
        assert_eq!(naive(2), [3., 20., 4., 40., 3., 20.]);
        // A window has no more than its steps.
        for season in [4, 9] {
            assert_eq!(naive(season), [2., 10., 2., 20., 3., 20.]);
        }
    }
}
