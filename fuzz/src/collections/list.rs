//! Lists against a `VecDeque`.

use std::collections::VecDeque;

use redstart::data::element::Element;
use redstart::data::list::{End, List};
use redstart::data::thresholds::Thresholds;
use redstart::data::value::Object;

use super::{Input, Row};

/// Elements that one step adds at most.
const PUSHED_MAX: usize = 40;

pub(super) struct Model(VecDeque<Vec<u8>>);

impl Model {
    pub(super) fn of(rows: Vec<Row>) -> Self {
        Self(rows.into_iter().map(|(element, ..)| element).collect())
    }

    fn end(input: &mut Input<'_>) -> End {
        if input.below(2) == 0 { End::Front } else { End::Back }
    }

    fn put(&mut self, end: End, element: Vec<u8>) {
        match end {
            End::Front => self.0.push_front(element),
            End::Back => self.0.push_back(element),
        }
    }

    fn take(&mut self, end: End) -> Option<Vec<u8>> {
        match end {
            End::Front => self.0.pop_front(),
            End::Back => self.0.pop_back(),
        }
    }

    /// An element that is there, or any.
    fn known(&self, input: &mut Input<'_>) -> Vec<u8> {
        let place = input.below(self.0.len() + 1);
        self.0.get(place).cloned().unwrap_or_else(|| input.word())
    }

    /// Indexes of an element, from an end on.
    fn places(&self, element: &[u8], from: End) -> Vec<usize> {
        let mut places: Vec<usize> =
            (0..self.0.len()).filter(|place| self.0[*place] == element).collect();
        if matches!(from, End::Back) {
            places.reverse();
        }
        places
    }

    fn ask(&self, list: &List, input: &mut Input<'_>) {
        let index = input.below(self.0.len() + 2);
        let found = list.get(index).map(Element::to_vec);
        assert_eq!(found.as_ref(), self.0.get(index));
        let forward: Vec<Vec<u8>> = list.iter_from(index).take(5).map(Element::to_vec).collect();
        assert!(forward.iter().eq(self.0.iter().skip(index).take(5)));
        let backward: Vec<Vec<u8>> =
            list.iter_back_from(index).take(5).map(Element::to_vec).collect();
        let behind = if index < self.0.len() { index + 1 } else { 0 };
        assert!(backward.iter().eq(self.0.iter().take(behind).rev().take(5)));
        let (from, element) = (Self::end(input), self.known(input));
        let within = input.below(self.0.len() + 2);
        let distance = |place: usize| match from {
            End::Front => place,
            End::Back => self.0.len() - 1 - place,
        };
        let places = self.places(&element, from).into_iter().map(distance);
        let expected: Vec<usize> = places.filter(|distance| *distance < within).collect();
        assert_eq!(list.distances_to(&element, from, within).collect::<Vec<_>>(), expected);
    }
}

impl super::Model for Model {
    fn rows(&self) -> Vec<Row> {
        self.0.iter().map(|element| (element.clone(), Vec::new(), None)).collect()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn step(&mut self, object: &mut Object, thresholds: &Thresholds, input: &mut Input<'_>) {
        let Object::List(list) = object else { panic!("a list stays a list") };
        let len = self.0.len();
        match input.below(14) {
            0..=2 => {
                let end = Self::end(input);
                let words: Vec<Vec<u8>> = (0..=input.below(3)).map(|_| input.word()).collect();
                list.push(end, words.iter().map(Vec::as_slice), thresholds);
                words.into_iter().for_each(|word| self.put(end, word));
            }
            3 => {
                let (end, word) = (Self::end(input), input.word());
                let count = input.below(PUSHED_MAX);
                list.push(end, std::iter::repeat_n(word.as_slice(), count), thresholds);
                (0..count).for_each(|_| self.put(end, word.clone()));
            }
            4 | 5 => {
                let end = Self::end(input);
                let popped = list.pop(end, thresholds, |element| element.to_vec());
                assert_eq!(popped, self.take(end));
            }
            6 => {
                let (from, to) = (Self::end(input), Self::end(input));
                let moved = list.rotate(from, to, thresholds, |element| element.to_vec());
                let expected = self.take(from);
                assert_eq!(moved, expected);
                expected.into_iter().for_each(|element| self.put(to, element));
            }
            7 => {
                let (start, count) = (input.below(len + 2), input.below(12));
                list.remove_range(start, count, thresholds);
                let start = start.min(len);
                self.0.drain(start..(start + count).min(len));
            }
            8 => {
                let (start, count) = (input.below(6), len.saturating_sub(input.below(6)));
                list.trim(start, count, thresholds);
                self.0.truncate(start + count);
                self.0.drain(..start.min(self.0.len()));
            }
            9 => {
                let (index, word) = (input.below(len + 1), input.word());
                assert_eq!(list.set(index, &word, thresholds), index < len);
                if let Some(element) = self.0.get_mut(index) {
                    *element = word;
                }
            }
            10 => {
                let (pivot, behind) = (self.known(input), input.below(2) == 1);
                let word = input.word();
                let place = self.places(&pivot, End::Front).first().copied();
                assert_eq!(list.insert(&pivot, behind, &word, thresholds), place.is_some());
                if let Some(place) = place {
                    self.0.insert(place + usize::from(behind), word);
                }
            }
            11 => {
                let (element, from) = (self.known(input), Self::end(input));
                let most = 1 + input.below(4);
                let mut places = self.places(&element, from);
                places.truncate(most);
                assert_eq!(list.remove_equal(&element, most, from, thresholds), places.len());
                places.sort_unstable();
                for place in places.into_iter().rev() {
                    self.0.remove(place);
                }
            }
            _ => self.ask(list, input),
        }
    }

    fn look(&self, object: &Object) {
        let Object::List(list) = object else { panic!("a list stays a list") };
        let backward = list.iter_toward(End::Back).map(Element::to_vec);
        assert!(backward.eq(self.0.iter().rev().cloned()));
        let mut visited = Vec::new();
        list.iter().visit(usize::MAX, |element| visited.push(element.to_vec()));
        assert!(visited.iter().eq(&self.0));
    }
}
