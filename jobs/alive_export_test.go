package jobs

import "time"

// Seize takes the lock that the runner's heartbeat needs, until release is called.
func (r *Runner) Seize() (release func()) {
	r.liveness.connMu.Lock()
	return r.liveness.connMu.Unlock
}

// Silence is how long ago the heartbeat's loop turned.
func (r *Runner) Silence() time.Duration { return r.liveness.pulse.silence() }

// LetPass makes that longer.
func (r *Runner) LetPass(d time.Duration) {
	earlier := r.liveness.pulse.last.Load().Add(-d)
	r.liveness.pulse.last.Store(&earlier)
}
