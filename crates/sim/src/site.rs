//! One simulated Harbor: its state, its faults and its place in the sandbox.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    clock::{Chance, SimClock},
    faults::{Fault, Faults},
    http::Listening,
    log::{Hook, LogEntry},
    model::{Robot, State, User},
};

/// How fast a site copies, in simulated time.
#[derive(Clone, Copy, Debug)]
pub struct CopySpeed {
    /// What each task takes before its first byte.
    pub per_task: Duration,
    /// How many bytes a second then.
    pub bytes_per_second: u64,
}

impl Default for CopySpeed {
    fn default() -> CopySpeed {
        CopySpeed {
            per_task: Duration::from_millis(300),
            bytes_per_second: 1_000_000,
        }
    }
}

/// Whose address the token realm names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Realm {
    /// The site's own external address, as v2.9.5 does.
    #[default]
    ExternalUrl,
    /// The Host header of the request, as newer versions do.
    FollowsHost,
}

/// What the two sites share.
pub(crate) struct World {
    pub(crate) clock: SimClock,
    pub(crate) chance: Chance,
    pub(crate) realm: Realm,
    pub(crate) sites: Mutex<Vec<Arc<Site>>>,
    pub(crate) hook: Mutex<Option<Hook>>,
    pub(crate) log: Mutex<Vec<LogEntry>>,
    pub(crate) requests: AtomicU64,
}

impl World {
    pub(crate) fn sites(&self) -> Vec<Arc<Site>> {
        lock(&self.sites).clone()
    }

    /// The site behind an address such as `http://127.1.2.3:8080`.
    pub(crate) fn site_at(&self, url: &str) -> Option<Arc<Site>> {
        let url = url.trim().trim_end_matches('/');
        self.sites().into_iter().find(|site| site.url == url)
    }

    pub(crate) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// One Harbor.
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) admin_password: String,
    pub(crate) copy_speed: Mutex<CopySpeed>,
    pub(crate) faults: Faults,
    pub(crate) listening: Listening,
    pub(crate) health: Mutex<crate::http::health::Seen>,
    pub(crate) world: Weak<World>,
    state: Mutex<State>,
}

impl Site {
    pub(crate) fn new(name: &str, address: SocketAddr, world: &Arc<World>) -> Arc<Site> {
        let admin_password = crate::clock::password();
        let created = Timestamp::now();
        let mut state = State::default();
        state.users.push(User {
            id: 1,
            name: "admin".to_owned(),
            password: admin_password.clone(),
            admin: true,
            created,
        });
        Arc::new(Site {
            name: name.to_owned(),
            url: format!("http://{address}"),
            address,
            admin_password,
            copy_speed: Mutex::default(),
            faults: Faults::default(),
            listening: Listening::default(),
            health: Mutex::default(),
            world: Arc::downgrade(world),
            state: Mutex::new(state),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The world this site lives in; gone when the sandbox is being dropped.
    pub(crate) fn world(&self) -> Option<Arc<World>> {
        self.world.upgrade()
    }

    /// Waits for a simulated span; for ever once the sandbox is gone, since then nothing may happen any more.
    pub(crate) async fn sleep(&self, simulated: Duration) {
        match self.world().map(|world| world.clock.real(simulated)) {
            Some(real) => tokio::time::sleep(real).await,
            None => std::future::pending().await,
        }
    }

    /// A span between the two, by the sandbox's chance.
    pub(crate) fn between(&self, low: Duration, high: Duration) -> Duration {
        self.world()
            .map_or(low, |world| world.chance.between(low, high))
    }

    /// The time by this site's clock, which may be skewed.
    pub(crate) fn now(&self) -> Timestamp {
        let skew = self.faults.find(|fault| match fault {
            Fault::ClockSkew { offset_ms } => Some(*offset_ms),
            _ => None,
        });
        Timestamp::now() + SignedDuration::from_millis(skew.unwrap_or(0))
    }

    /// Whether a part of the site is down.
    pub(crate) fn component_down(&self, name: &str) -> bool {
        self.faults
            .find(|fault| match fault {
                Fault::ComponentDown { component } => (component == name).then_some(()),
                _ => None,
            })
            .is_some()
    }

    /// Whether another Harbor gets through to this one.
    pub(crate) fn is_reachable(&self) -> bool {
        self.listening.is_up()
            && self
                .faults
                .find(|fault| {
                    matches!(
                        fault,
                        Fault::Hang {
                            method: None,
                            path: None
                        }
                    )
                    .then_some(())
                })
                .is_none()
    }

    /// Finds who a name and a password belong to, if they are right and usable.
    pub(crate) fn log_in(&self, name: &str, password: &str) -> Principal {
        let state = self.state();
        if let Some(user) = state
            .users
            .iter()
            .find(|user| user.name == name && user.password == password)
        {
            return if user.admin {
                Principal::Admin(user.id)
            } else {
                Principal::User(user.name.clone())
            };
        }
        let now = Timestamp::now().as_second();
        state
            .robots
            .values()
            .find(|robot| robot.full_name() == name && robot.secret == password)
            .filter(|robot| !robot.disabled && (robot.expires_at == -1 || robot.expires_at > now))
            .map_or(Principal::Anonymous, |robot| {
                Principal::Robot(Box::new(robot.clone()))
            })
    }
}

/// Who a request comes from.
#[derive(Clone, Debug)]
pub(crate) enum Principal {
    Anonymous,
    Admin(i64),
    User(String),
    Robot(Box<Robot>),
}

impl Principal {
    /// How Harbor names them in a 403.
    pub(crate) fn name(&self) -> String {
        match self {
            Principal::Anonymous => String::new(),
            Principal::Admin(_) => "admin".to_owned(),
            Principal::User(name) => name.clone(),
            Principal::Robot(robot) => robot.full_name(),
        }
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(self, Principal::Anonymous)
    }

    pub(crate) fn may_in_system(&self, resource: &str, action: &str) -> bool {
        match self {
            Principal::Admin(_) => true,
            Principal::Robot(robot) => robot.may(None, resource, action),
            _ => false,
        }
    }

    /// `public`: whether the project is.
    pub(crate) fn may_in_project(
        &self,
        project: &str,
        public: bool,
        resource: &str,
        action: &str,
    ) -> bool {
        let reads = matches!(action, "pull" | "read" | "list");
        match self {
            Principal::Admin(_) => true,
            Principal::Robot(robot) => {
                robot.may(Some(project), resource, action) || (public && action == "pull")
            }
            _ => public && reads,
        }
    }
}

/// Locks, also after a panic elsewhere: the state is plain data and stays usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
