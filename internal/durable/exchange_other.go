//go:build !linux

package durable

import "errors"

// exchangeNames swaps two directories' names in one atomic step. This system has no call for it.
func exchangeNames(string, string) error { return errors.ErrUnsupported }
