//! One check of many things, on all processors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Checks each thing, several at a time.
///
/// # Panics
///
/// When a check complains or panics: with all complaints, in the order of the things.
pub fn expect_all<T, F>(things: &[T], check: F)
where
    T: Sync,
    F: Fn(&T) -> Result<(), String> + Sync,
{
    let next = AtomicUsize::new(0);
    let complaints = Mutex::new(Vec::new());
    let work = || {
        while let Some((number, thing)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            things.get(number).map(|thing| (number, thing))
        } {
            if let Err(complaint) = check(thing) {
                complaints.lock().expect("nobody panics with it").push((number, complaint));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut complaints = complaints.into_inner().expect("nobody panics with it");
    complaints.sort();
    let texts: Vec<&str> = complaints.iter().map(|(_, text)| text.as_str()).collect();
    assert!(texts.is_empty(), "{} of {}:\n{}", texts.len(), things.len(), texts.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "2 of 100:\n7\n40")]
    fn all_complaints_are_told_in_order() {
        let things: Vec<usize> = (0..100).collect();
        expect_all(&things, |n| if [40, 7].contains(n) { Err(n.to_string()) } else { Ok(()) });
    }
}
