//! Sampling of the next character from a language model's logits.

use super::text::GenerateConfig;
use crate::rng::SeededRng;
use crate::Result;

/// `-log2 p` of a character.
pub(super) fn surprise(logits: &[f64], id: usize) -> f64 {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - most).exp()).sum();
    (most + sum.ln() - logits[id]) / std::f64::consts::LN_2
}

/// The number of the next character.
pub(super) fn draw(logits: &[f64], config: &GenerateConfig, rng: &mut SeededRng) -> Result<usize> {
    let GenerateConfig { temperature, top_k, .. } = *config;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order.truncate(if temperature == 0. { 1 } else { top_k.unwrap_or(usize::MAX) });
    let most = logits[order[0]];
    let weight =
        |index: &usize| ((logits[*index] - most) / temperature.max(f64::MIN_POSITIVE)).exp();
    let weights: Vec<f64> = order.iter().map(weight).collect();
    if order.len() == 1 {
        return Ok(order[0]);
    }
    let sum: f64 = weights.iter().sum();
    let probabilities: Vec<f64> = weights.into_iter().map(|weight| weight / sum).collect();
    Ok(order[rng.categorical(&probabilities)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn drawn(config: GenerateConfig) -> Vec<usize> {
        let logits = [0., 2., 1., -50.];
        let mut rng = SeededRng::new(config.seed, Purpose::Sample);
        (0..2_000).map(|_| draw(&logits, &config, &mut rng).unwrap()).collect()
    }

    fn part(drawn: &[usize], id: usize) -> f64 {
        drawn.iter().filter(|found| **found == id).count() as f64 / drawn.len() as f64
    }

    #[test]
    fn the_surprise_of_a_character_is_in_bits() {
        let logits = [0., 3_f64.ln(), f64::NEG_INFINITY];
        assert!((surprise(&logits, 0) - 2.).abs() < 1e-12);
        assert!((surprise(&logits, 1) - (4_f64 / 3.).log2()).abs() < 1e-12);
        assert_eq!(surprise(&logits, 2), f64::INFINITY);
        assert!((surprise(&[1e5; 4], 3) - 2.).abs() < 1e-9);
    }

    #[test]
    fn characters_are_drawn_as_often_as_they_are_likely() {
        let all = drawn(GenerateConfig { temperature: 1., ..Default::default() });
        assert!((part(&all, 1) - 0.665).abs() < 0.04 && (part(&all, 0) - 0.09).abs() < 0.03);
        assert_eq!(part(&all, 3), 0.);
        let cold = drawn(GenerateConfig { temperature: 0., ..Default::default() });
        assert_eq!(part(&cold, 1), 1.);
        let two = drawn(GenerateConfig { temperature: 10., top_k: Some(2), ..Default::default() });
        assert!(part(&two, 0) == 0. && (part(&two, 2) - 0.475).abs() < 0.05);
        assert_ne!(all, drawn(GenerateConfig { temperature: 1., seed: 1, ..Default::default() }));
    }
}
