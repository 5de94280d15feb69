package rpc

// turn is a mutex of those who wait for the network while they have it. Whoever waits for a sync.Mutex makes virtual time, in which
// the network would answer, stand still; a channel does not.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) Lock() { t <- struct{}{} }

func (t turn) TryLock() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

func (t turn) Unlock() { <-t }
