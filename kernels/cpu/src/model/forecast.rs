//! The naive forecast, from which a network predicts the differences.

/// The forecast of a window of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ForecastWindow {
    /// K, the number of steps that are forecast.
    pub(super) horizon: usize,
    /// The naive forecast repeats the value so many steps earlier.
    pub(super) season: usize,
    /// The number of steps that a forecast is made from.
    pub(super) window: usize,
}

/// The last steps of a series, as far back as the naive forecast looks: missing values take the value before them, or
/// else the first one behind.
#[derive(Clone, Debug)]
pub(super) struct SeasonMemory {
    features: usize,
    season: usize,
    /// `(season, I)`: step t in row `t % season`.
    rows: Vec<f64>,
    /// The last known value of each feature; NaN before there is one.
    last: Vec<f64>,
    steps: usize,
}

impl SeasonMemory {
    pub(super) fn new(forecast: &ForecastWindow, features: usize) -> Self {
        let season = forecast.season;
        let (rows, last) = (vec![f64::NAN; season * features], vec![f64::NAN; features]);
        Self { features, season, rows, last, steps: 0 }
    }

    /// Takes the values of a step, feature by feature; allocates nothing.
    pub(super) fn push(&mut self, values: impl Iterator<Item = f64>) {
        let row = self.steps % self.season;
        for (column, value) in values.enumerate() {
            if self.last[column].is_nan() && !value.is_nan() {
                for at in (column..self.rows.len()).step_by(self.features) {
                    self.rows[at] = value;
                }
            }
            if !value.is_nan() {
                self.last[column] = value;
            }
            self.rows[row * self.features + column] = self.last[column];
        }
        self.steps += 1;
    }

    /// The naive forecast of a feature, `step` steps behind the next.
    pub(super) fn naive(&self, step: usize, column: usize) -> f64 {
        // A season that is longer than what was read is as long as that.
        let season = self.season.min(self.steps.max(1));
        let at = (self.steps - season.min(self.steps) + step % season) % self.season;
        self.rows[at * self.features + column]
    }

    pub(super) fn reset(&mut self) {
        self.rows.fill(f64::NAN);
        self.last.fill(f64::NAN);
        self.steps = 0;
    }
}
