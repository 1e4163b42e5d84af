//! Bounds, shares, turns.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use super::*;

fn pool(bound: u64, share: u64) -> Pool {
    Pool::new(Limit::new(bound, share))
}

fn tenant(name: &str) -> Holder {
    Holder::Tenant(name.parse().unwrap())
}

/// Asks once, without waiting.
fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[test]
fn a_holder_gets_its_share_only_all_get_the_bound_only_and_what_is_dropped_comes_back() {
    let pool = pool(7, 4);
    let first = pool.try_take(&tenant("a"), 4).unwrap();
    assert_eq!(pool.try_take(&tenant("a"), 1).unwrap_err(), Full { whose: Whose::Share, used: 4, bound: 4 });
    assert_eq!(pool.try_take(&tenant("b"), 4).unwrap_err(), Full { whose: Whose::All, used: 4, bound: 7 });
    let _second = pool.try_take(&tenant("b"), 3).unwrap();
    drop(first);
    assert_eq!(pool.used(), [(tenant("b"), 3)]);
    assert_eq!(pool.try_take(&Holder::Host, 4).unwrap().amount(), 4, "the host's share is the bound");
}

#[test]
fn what_is_held_grows_within_the_share_and_shrinks() {
    let pool = pool(10, 6);
    let mut held = pool.try_take(&tenant("a"), 2).unwrap();
    held.grow(4).unwrap();
    assert_eq!((held.grow(1).unwrap_err().whose, held.amount()), (Whose::Share, 6));
    held.shrink(1);
    assert_eq!((pool.used_by(&tenant("a")), held.amount()), (1, 1));
}

#[test]
fn a_count_kept_elsewhere_is_asked_and_told() {
    let pool = pool(7, 5);
    pool.set(&tenant("a"), 4);
    assert!(pool.fits(&tenant("a"), 1).is_ok() && pool.fits(&tenant("a"), 2).is_err());
    assert!(pool.fits(&tenant("b"), 3).is_ok() && pool.fits(&tenant("b"), 4).is_err());
    pool.set(&tenant("a"), 0);
    assert!(pool.used().is_empty() && pool.fits(&tenant("b"), 5).is_ok());
}

#[test]
fn who_waits_is_served_in_turns_between_holders() {
    let pool = pool(1, 1);
    let held = pool.try_take(&Holder::Host, 1).unwrap();
    let (greedy, other) = (tenant("greedy"), tenant("other"));
    let (mut first, mut second, mut third) = (pin!(pool.take(&greedy, 1)), pin!(pool.take(&greedy, 1)), pin!(pool.take(&other, 1)));
    assert!(poll(first.as_mut()).is_none() && poll(second.as_mut()).is_none() && poll(third.as_mut()).is_none());
    drop(held);
    let held = poll(first.as_mut()).expect("who came first");
    assert!(poll(second.as_mut()).is_none() && poll(third.as_mut()).is_none());
    drop(held);
    assert!(poll(second.as_mut()).is_none(), "the other holder's turn comes before the second of the same");
    drop(poll(third.as_mut()).expect("the other holder"));
    assert!(poll(second.as_mut()).is_some());
}

#[test]
fn a_holder_at_its_share_waits_for_itself_and_nobody_else_does() {
    let pool = pool(7, 3);
    let held = pool.try_take(&tenant("a"), 3).unwrap();
    let a = tenant("a");
    let mut waits = pin!(pool.take(&a, 1));
    assert!(poll(waits.as_mut()).is_none());
    let b = tenant("b");
    assert!(poll(pin!(pool.take(&b, 3))).is_some());
    drop(held);
    assert!(poll(waits.as_mut()).is_some());
}

#[test]
fn who_goes_away_while_it_waits_takes_nothing() {
    let pool = pool(1, 1);
    let held = pool.try_take(&tenant("a"), 1).unwrap();
    {
        let b = tenant("b");
        let mut waits = pin!(pool.take(&b, 1));
        assert!(poll(waits.as_mut()).is_none());
    }
    drop(held);
    assert!(pool.used().is_empty());
    let c = tenant("c");
    assert!(poll(pin!(pool.take(&c, 1))).is_some());
}

#[test]
fn what_was_granted_to_one_who_went_away_goes_to_the_next() {
    let pool = pool(1, 1);
    let held = pool.try_take(&tenant("a"), 1).unwrap();
    let (b, c) = (tenant("b"), tenant("c"));
    let mut gone = Box::pin(pool.take(&b, 1));
    let mut next = pin!(pool.take(&c, 1));
    assert!(poll(gone.as_mut()).is_none() && poll(next.as_mut()).is_none());
    drop(held);
    drop(gone);
    assert!(poll(next.as_mut()).is_some());
}

#[test]
fn a_large_need_is_passed_by_small_ones_only_so_often() {
    let pool = pool(10, 10);
    let (big, small) = (tenant("big"), tenant("small"));
    let mut held = vec![pool.try_take(&small, 9).unwrap(), pool.try_take(&small, 1).unwrap()];
    let mut large = pin!(pool.take(&big, 5));
    assert!(poll(large.as_mut()).is_none());
    let mut passed = 0;
    loop {
        let mut one = pin!(pool.take(&small, 1));
        assert!(poll(one.as_mut()).is_none(), "the pool is full");
        drop(held.pop());
        match poll(one.as_mut()) {
            Some(got) => held.push(got),
            None => break,
        }
        passed += 1;
        assert!(passed <= PASSED_MAX, "the large need starves");
    }
    assert_eq!(passed, PASSED_MAX);
    drop(held);
    assert!(poll(large.as_mut()).is_some());
}

#[test]
fn more_than_a_share_is_taken_as_the_whole_share() {
    let pool = pool(10, 6);
    let a = tenant("a");
    assert_eq!(poll(pin!(pool.take(&a, 1_000))).unwrap().amount(), 6);
}

#[test]
fn two_at_their_share_leave_something_to_a_third_who_comes_new() {
    let pool = pool(64, 32);
    let [red, blue, green] = ["red", "blue", "green"].map(tenant);
    let _all_of_red = pool.try_take(&red, 32).unwrap();
    let mut of_blue = pool.try_take(&blue, 24).unwrap();
    // A third of 64 is an equal part where red and blue have some and one more may come.
    assert_eq!(of_blue.grow(1).unwrap_err().whose, Whose::All);
    let _of_green = pool.try_take(&green, 8).unwrap();
    assert_eq!(pool.try_take(&green, 1).unwrap_err().whose, Whose::All, "the bound itself");
}

#[test]
fn one_alone_and_the_host_have_the_last_part_too_and_a_small_bound_has_none() {
    let all = pool(64, 64);
    assert_eq!(all.try_take(&tenant("red"), 64).unwrap().amount(), 64);
    let shared = pool(64, 64);
    let _of_red = shared.try_take(&tenant("red"), 56).unwrap();
    assert_eq!(shared.try_take(&Holder::Host, 8).unwrap().amount(), 8);
    let small = pool(2, 1);
    let _one = small.try_take(&tenant("red"), 1).unwrap();
    assert_eq!(small.try_take(&tenant("blue"), 1).unwrap().amount(), 1);
}
