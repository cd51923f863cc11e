//! What the server does for a contestant: it has the same processors.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use redis::Connection;

/// Tells the CPU time of a server by what it says of itself: for one piece of work, in which no two contestants have a name.
#[derive(Clone)]
pub struct Meter(Rc<RefCell<Inner>>);

struct Inner {
    server: Connection,
    /// Microseconds, and for how many operations.
    spent: HashMap<String, (f64, usize)>,
}

impl Meter {
    pub fn new(url: &str) -> Self {
        let client = redis::Client::open(url).expect("a URL");
        let server = client.get_connection().expect("a connection");
        Self(Rc::new(RefCell::new(Inner { server, spent: HashMap::new() })))
    }

    /// Lets the contestant do so many operations.
    pub fn measure(&self, name: &str, operations: usize, work: impl FnOnce()) {
        let before = self.cpu_time();
        work();
        let taken = self.cpu_time() - before;
        let mut inner = self.0.borrow_mut();
        let (spent, done) = inner.spent.entry(name.to_owned()).or_default();
        *spent += taken;
        *done += operations;
    }

    /// Nanoseconds of an operation.
    pub fn time(&self, name: &str) -> f64 {
        let inner = self.0.borrow();
        let (spent, done) = inner.spent.get(name).copied().unwrap_or_default();
        spent * 1000.0 / done.max(1) as f64
    }

    fn cpu_time(&self) -> f64 {
        let info: String = redis::cmd("INFO")
            .arg("cpu")
            .query(&mut self.0.borrow_mut().server)
            .expect("the server says what it did");
        let seconds = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<f64>().ok()).expect("a number of seconds")
        };
        (seconds("used_cpu_user:") + seconds("used_cpu_sys:")) * 1e6
    }
}
