package jobs

import "github.com/google/uuid"

// KnowsOpen says whether the runner has heard from the database that a partner's circuit is open.
func (r *Runner) KnowsOpen(partner uuid.UUID) bool {
	r.gate.mu.Lock()
	defer r.gate.mu.Unlock()
	return r.gate.health[partner].Circuit() == CircuitOpen
}
