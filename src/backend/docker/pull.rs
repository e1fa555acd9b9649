//! How far a pull is, over all its layers.

use std::collections::HashMap;

use bollard::models::CreateImageInfo;

/// How a layer's way divides: the download, then the unpacking.
const DOWNLOAD: f32 = 0.7;

/// The layers of one pull.
#[derive(Default)]
pub(super) struct Layers {
    layers: HashMap<String, Layer>,
    shown: f32,
}

#[derive(Clone, Copy, Default)]
struct Layer {
    /// 0 to 1.
    done: f32,
    /// Bytes of the download, once the engine told.
    size: Option<f32>,
}

impl Layers {
    /// Takes one line of the engine in; the fraction over all layers if it grew by a hundredth.
    pub(super) fn take(&mut self, line: &CreateImageInfo) -> Option<f32> {
        let (id, status) = (line.id.as_deref()?, line.status.as_deref()?);
        let detail = line.progress_detail.as_ref();
        let total = detail.and_then(|d| d.total).filter(|t| *t > 0).map(|t| t as f32);
        let part = detail.and_then(|d| d.current).zip(total).map_or(0.0, |(c, t)| (c as f32 / t).clamp(0.0, 1.0));
        let done = match status {
            "Pulling fs layer" | "Waiting" => 0.0,
            "Downloading" => DOWNLOAD * part,
            "Verifying Checksum" | "Download complete" => DOWNLOAD,
            "Extracting" => DOWNLOAD + (1.0 - DOWNLOAD) * part,
            "Pull complete" => 1.0,
            // `Already exists`: such layers come first, cost nothing, and would make a beginning look
            // like the end. `Pulling from …`, whose id is the tag. What later engines may add.
            _ => return None,
        };
        let layer = self.layers.entry(id.to_owned()).or_default();
        layer.done = layer.done.max(done);
        if status == "Downloading" {
            layer.size = layer.size.or(total);
        }
        let all = self.fraction();
        // It never goes back, though a layer that turns up late makes the whole larger.
        if all >= self.shown + 0.01 {
            self.shown = all;
            return Some(all);
        }
        None
    }

    /// Weighted by size; a layer whose size is not told yet counts as an average one.
    fn fraction(&self) -> f32 {
        let sized: Vec<f32> = self.layers.values().filter_map(|l| l.size).collect();
        let average = if sized.is_empty() { 1.0 } else { sized.iter().sum::<f32>() / sized.len() as f32 };
        let (done, all) = self.layers.values().fold((0.0, 0.0), |(done, all), l| {
            let size = l.size.unwrap_or(average);
            (done + l.done * size, all + size)
        });
        if all > 0.0 { done / all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    fn line(id: &str, status: &str, progress: Option<(i64, i64)>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: progress.map(|(c, t)| ProgressDetail { current: Some(c), total: Some(t) }),
            ..Default::default()
        }
    }

    #[test]
    fn two_layers_end_at_one_and_never_go_back() {
        let mut layers = Layers::default();
        let mut seen = Vec::new();
        for l in [
            line("1.0", "Pulling from shop/web", None),
            line("0", "Already exists", None),
            line("a", "Pulling fs layer", None),
            line("b", "Pulling fs layer", None),
            line("a", "Downloading", Some((50, 100))),
            line("b", "Downloading", Some((900, 900))),
            line("a", "Download complete", None),
            line("a", "Extracting", Some((100, 100))),
            line("c", "Pulling fs layer", None),
            line("a", "Pull complete", None),
            line("b", "Pull complete", None),
            line("c", "Pull complete", None),
        ] {
            seen.extend(layers.take(&l));
        }
        assert!(seen.windows(2).all(|w| w[0] < w[1]), "{seen:?}");
        assert!((seen.last().unwrap() - 1.0).abs() < 0.02, "{seen:?}");
    }
}
