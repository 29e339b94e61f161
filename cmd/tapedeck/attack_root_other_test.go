//go:build !linux

package main

// rootAttacks are the attacks that only root can make: there are none here.
func (a *attacker) rootAttacks() []namedAttack { return nil }
