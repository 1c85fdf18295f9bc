// Package jobs decides when a webhook is sent. It turns an application's events into deliveries, one River
// job for each subscribed partner, works them, and keeps a record of every attempt.
//
// Applications enqueue with an [Enqueuer], inside the transaction that stores what happened. Workers run a
// [Runner].
package jobs
