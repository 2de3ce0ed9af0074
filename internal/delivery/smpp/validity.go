package smpp

import (
	"fmt"
	"time"
)

// longest is more than any SMSC keeps a message.
const longest = 30 * 24 * time.Hour

// validity writes how long a message is worth delivering, in the relative
// format of SMPP 3.4 §7.1.1 (YYMMDDhhmmss000R), rounded up to seconds. A zero
// expiry leaves it to the SMSC.
func validity(expires, now time.Time) (string, error) {
	if expires.IsZero() {
		return "", nil
	}
	left := min(expires.Sub(now), longest)
	if left <= 0 {
		return "", ErrExpired
	}
	seconds := int64((left + time.Second - 1) / time.Second)
	return fmt.Sprintf("0000%02d%02d%02d%02d000R",
		seconds/86400, seconds/3600%24, seconds/60%60, seconds%60), nil
}
