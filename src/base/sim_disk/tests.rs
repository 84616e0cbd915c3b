//! What the simulated disk keeps and loses.

use super::*;

const FILE: &str = "data/log";

fn written(bytes: &[u8], synced: usize) -> SimDisk {
    let disk = SimDisk::default();
    disk.create_dir(Path::new("data")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    let mut file = disk.create(Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new("data")).unwrap();
    file.append(&bytes[..synced]).unwrap();
    file.sync().unwrap();
    file.append(&bytes[synced..]).unwrap();
    disk
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_of_the_rest() {
    let bytes: Vec<u8> = (0..4000_u32).map(|n| (n % 251) as u8 + 1).collect();
    let mut lengths = BTreeSet::new();
    let mut holes = 0;
    for seed in 0..300 {
        let after = written(&bytes, 1000).crash(&mut Rng::from_seed(seed));
        let left = after.contents(Path::new(FILE)).unwrap();
        assert_eq!(left[..1000], bytes[..1000], "seed {seed}");
        lengths.insert(left.len());
        holes += usize::from(left != bytes[..left.len()]);
    }
    assert!(lengths.contains(&1000) && lengths.contains(&4000) && lengths.len() > 50);
    assert!(holes > 50, "{holes}");
}

#[test]
fn names_are_durable_after_a_sync_of_their_directory() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = written(b"x", 1);
        disk.rename(Path::new(FILE), Path::new("data/new")).unwrap();
        disk.create(Path::new("data/other")).unwrap();
        let after = disk.crash(&mut Rng::from_seed(seed));
        let names = after.list(Path::new("data")).unwrap();
        let renamed = names.contains(&PathBuf::from("new"));
        assert_ne!(renamed, names.contains(&PathBuf::from("log")), "a rename is atomic");
        seen.insert(names);
    }
    assert_eq!(seen.len(), 4);
    let disk = written(b"x", 1);
    disk.rename(Path::new(FILE), Path::new("data/new")).unwrap();
    disk.sync_dir(Path::new("data")).unwrap();
    let after = disk.crash(&mut Rng::from_seed(1));
    assert_eq!(after.list(Path::new("data")).unwrap(), [PathBuf::from("new")]);
}

#[test]
fn a_failed_sync_loses_bytes_that_later_syncs_cover() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = written(&[7; 2000], 0);
        disk.inject(disk.operations(), Fault::Io);
        let mut file = disk.open_append(Path::new(FILE)).unwrap();
        assert!(file.sync().is_err());
        file.append(b"more").unwrap();
        file.sync().unwrap();
        let after = disk.crash(&mut Rng::from_seed(seed));
        let left = after.contents(Path::new(FILE)).unwrap();
        assert_eq!((left.len(), &left[2000..]), (2004, b"more".as_slice()));
        lost += usize::from(left[..2000].contains(&0));
    }
    assert!(lost > 40);
}

#[test]
fn faults_and_the_end_come_at_their_operation() {
    let disk = written(b"", 0);
    let mut file = disk.open_append(Path::new(FILE)).unwrap();
    disk.inject(disk.operations(), Fault::Short(2));
    assert_eq!(file.append(b"abcd").unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(disk.contents(Path::new(FILE)).unwrap(), b"ab");
    disk.crash_at(disk.operations() + 1);
    file.append(b"c").unwrap();
    assert!(file.sync().is_err() && file.append(b"d").is_err() && disk.has_crashed());
    assert_eq!(disk.kill().contents(Path::new(FILE)).unwrap(), b"abc");
}

#[test]
fn only_what_is_written_again_is_made_up_for() {
    let lost = |again: Option<u64>| {
        (0..50).any(|seed| {
            let disk = written(&[7; 2000], 0);
            disk.inject(disk.operations(), Fault::Io);
            let file = disk.open_append(Path::new(FILE)).unwrap();
            assert!(file.sync().is_err() && disk.in_doubt());
            if let Some(from) = again {
                disk.write_again(Path::new(FILE), from, SyncPoint("test")).unwrap();
            }
            file.sync().unwrap();
            assert_eq!(disk.in_doubt(), again != Some(0));
            let left = disk.crash(&mut Rng::from_seed(seed)).contents(Path::new(FILE)).unwrap();
            left[again.unwrap_or(0) as usize..].contains(&0)
        })
    };
    assert!(lost(None) && !lost(Some(0)) && !lost(Some(700)));
}

#[test]
fn a_moment_is_the_disk_before_an_operation() {
    let disk = SimDisk::default();
    disk.keep_moments();
    let mut file = disk.create(Path::new("log")).unwrap();
    for byte in 0..3 {
        file.append(&[byte]).unwrap();
    }
    assert!(!disk.before(0).exists(Path::new("log")).unwrap());
    for number in 1..6 {
        let bytes = disk.before(number).contents(Path::new("log")).unwrap();
        assert_eq!(bytes, [0, 1, 2][..(number as usize - 1).min(3)]);
    }
}
