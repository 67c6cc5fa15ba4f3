//! The end of a client's stream that was empty. Its keys go with the third ACK and with the first data (RFC 8684, section
//! 3.1). Where there is none, and that ACK is lost, the DATA_FIN is the first that the peer hears of it, who takes the
//! connection for plain TCP (section 3.7): a DATA_FIN means nothing to it, and pure acknowledgements are not answered.

use super::{Connection, Role, SendHalf};
use crate::SubflowId;
use crate::seq::Dsn;
use crate::tcp::State;

impl Connection {
    /// The DATA_FIN is not acknowledged in time. First the keys go with it once more; then, for a peer in plain TCP, a FIN.
    pub(super) fn repeat_empty_end(&mut self) {
        if !self.ends_unheard() {
            return;
        }
        let keys_repeated = self.data_fin_tries > 1;
        for s in self.subflows.iter_mut().flatten() {
            s.close_wanted |= keys_repeated;
            if !keys_repeated {
                s.tcp.ack_now();
            }
        }
    }

    /// The FIN of this subflow is acknowledged, and it was the only word that the peer has had of us.
    pub(super) fn is_empty_end_heard(&self, id: SubflowId) -> bool {
        let heard = |state| matches!(state, State::FinWait2 | State::TimeWait | State::Closed);
        self.ends_unheard() && self.get(id).is_some_and(|s| heard(s.tcp.state))
    }

    /// Nobody is known to have heard of this connection more than its SYN, and it says its end.
    fn ends_unheard(&self) -> bool {
        let unconfirmed = self.multipath.session().is_some_and(|session| !session.confirmed);
        let said = self.send_half == SendHalf::FinSent;
        self.role == Role::Client && unconfirmed && said && self.data_fin() == Dsn::FIRST
    }
}
