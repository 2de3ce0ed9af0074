package doctor

import "syscall"

// Where locks of files are not what they are on a disk (statfs(2)).
var networks = map[int64]bool{0x6969: true, 0xff534d42: true, 0xfe534d42: true, 0x517b: true, 0x01021997: true} // NFS, CIFS, SMB2, SMB, 9p

// disk says how much is free where path is, and whether that is elsewhere.
func disk(path string) (free uint64, network bool, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, false, err
	}
	return s.Bavail * uint64(s.Bsize), networks[int64(uint32(s.Type))], nil //nolint:gosec,unconvert // types differ by machine
}

// synchronised asks the kernel whether something keeps its clock right
// (adjtimex(2)).
func synchronised() (yes, known bool) {
	state, err := syscall.Adjtimex(&syscall.Timex{})
	return state != 5, err == nil // TIME_ERROR
}
