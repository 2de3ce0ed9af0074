// Package archtest keeps the floors, the sizes and the names of this
// repository true, and the pages that describe it up to date.
package archtest
