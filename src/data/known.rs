//! Known data sets, recognised by the SHA-256 of their bytes, not by the name that they were given.

use super::image_set::ImageSet;

/// Data that are known by [`Mnist::fingerprint`](super::mnist::Mnist::fingerprint).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A whole data set.
    Whole(ImageSet),
    /// The sample that is embedded in this crate, a part of MNIST.
    Sample,
}

/// The fingerprints of all data that are known.
const FINGERPRINTS: [(&str, Known); 3] = [
    (
        "9329e9db416649eba6fc2f74e03c0bbdf7704d6c9a9acfb30287761dbed36e81",
        Known::Whole(ImageSet::Mnist),
    ),
    (
        "ff760c0280b57207d3a5eb0a5a28423cc6cec480f54b9170405f89309c88d57a",
        Known::Whole(ImageSet::FashionMnist),
    ),
    ("383d05a305102c0ccf91790f85f056c1f3fd21fe09585cf40f38058da0de4318", Known::Sample),
];

impl Known {
    /// The known data with this fingerprint; `None` for any others.
    pub fn of(fingerprint: &str) -> Option<Self> {
        let found = FINGERPRINTS.iter().find(|(known, _)| *known == fingerprint);
        found.map(|(_, known)| *known)
    }

    /// The data set that the images are from.
    pub fn dataset(self) -> ImageSet {
        match self {
            Self::Whole(dataset) => dataset,
            Self::Sample => ImageSet::Mnist,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::mnist::Mnist;

    #[test]
    fn the_sample_is_known_and_data_with_another_fingerprint_not() {
        let fingerprint = Mnist::sample().unwrap().fingerprint();
        assert_eq!(Known::of(&fingerprint), Some(Known::Sample));
        assert_eq!(Known::of(&fingerprint.replace('3', "4")), None);
        assert_eq!(Known::of(""), None);
    }

    #[cfg(feature = "download")]
    #[test]
    fn whole_data_sets_on_this_machine_are_known() {
        use crate::data::fetch::cache_folder;
        for dataset in [ImageSet::Mnist, ImageSet::FashionMnist] {
            // Only data that are there already: a test fetches nothing.
            let Ok(data) = cache_folder(dataset).and_then(|folder| Mnist::from_folder(&folder))
            else {
                continue;
            };
            assert_eq!(Known::of(&data.fingerprint()), Some(Known::Whole(dataset)));
        }
    }
}
