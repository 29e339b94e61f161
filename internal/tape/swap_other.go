//go:build !linux

package tape

import "errors"

// exchangeNames swaps two directories' names in one atomic step; this system has no call for it.
func exchangeNames(string, string) error { return errors.ErrUnsupported }
