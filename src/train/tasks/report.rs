//! `Report`: how well a network does on a data set.

use serde::Serialize;

use super::forecast_report::ForecastReport;
use crate::train::class_report::ClassReport;
use crate::train::numbers_report::NumbersReport;

/// How well a network does on a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Classes of sequences or of steps.
    Classes(ClassReport),
    /// Numbers.
    Numbers(NumbersReport),
    /// Forecasts.
    Forecast(ForecastReport),
}
