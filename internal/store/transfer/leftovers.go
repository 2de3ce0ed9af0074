package transfer

import (
	"os"
	"path/filepath"
	"time"
)

// A backup that is killed cannot remove what it has written, and since names
// are drawn nobody would meet it again: the next backup in the directory looks.

// partial is the name of a backup that is not complete.
const partial = ".countersign-backup-*"

// abandonedAfter is how long nobody has written to what is removed. It is there
// beside the claim, for the moments before and after that, and for machines
// that share a directory and see no claims of each other.
const abandonedAfter = time.Hour

// clear removes what backups that were killed have left in a directory.
func (d *Desk) clear(dir string) {
	list, _ := os.ReadDir(dir) // whether one can write there is found out next
	for _, entry := range list {
		if ours, _ := filepath.Match(partial, entry.Name()); ours && entry.Type().IsRegular() {
			d.clearOne(filepath.Join(dir, entry.Name()))
		}
	}
}

func (d *Desk) clearOne(path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || d.Store.Now().Sub(info.ModTime()) < abandonedAfter || !claim(f) {
		return
	}
	if os.Remove(path) == nil && d.Store.Log != nil {
		d.Store.Log.Info("removed what a backup that was killed had left", "file", path)
	}
}
