//! Medians, percentiles and the tables that are printed.

/// The value below which a share `q` (0 to 1) of the sorted samples lies: the nearest rank, so that
/// a percentile is always something that was measured. NaN without samples.
pub fn percentile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The middle one.
pub fn median(samples: &[f64]) -> f64 {
    percentile(samples, 0.5)
}

/// Prints rows below their heads as a Markdown table whose columns line up.
pub fn table(heads: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("| {} |", padded.collect::<Vec<_>>().join(" | "));
    };
    line(&heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>());
    println!("|{}|", widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|"));
    for row in rows {
        line(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let samples: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(median(&samples), 100.0);
        assert_eq!(percentile(&samples, 0.99), 198.0);
        assert_eq!(percentile(&samples, 1.0), 200.0);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
