// Package partners knows who receives a user's events and how: the partner and its rules, the store,
// secrets sealed at rest, Standard Webhooks signatures, and the HTTP sender with its guard.
//
// It knows nothing of queues: when something is sent is decided by package jobs.
package partners
