package transfer

import (
	"os"
	"path/filepath"
	"time"
)

// What is killed cannot remove what it has written, and since names are drawn
// nobody would meet it again: the next one in the directory looks.

// partial is the name of a backup that is not complete, and filling that of
// the directory in which a database is restored.
const (
	partial = ".countersign-backup-*"
	filling = ".countersign-restore-*"
)

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

// clearFillings removes what restores that were killed have left beside the
// database: copies of all of it. The claim alone decides, since whoever meets
// that runs the same command again at once.
func (d *Desk) clearFillings(dir string) {
	list, _ := os.ReadDir(dir)
	for _, entry := range list {
		if ours, _ := filepath.Match(filling, entry.Name()); ours && entry.IsDir() {
			d.clearFilling(filepath.Join(dir, entry.Name()))
		}
	}
}

func (d *Desk) clearFilling(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if claim(f) && os.RemoveAll(path) == nil && d.Store.Log != nil {
		d.Store.Log.Info("removed what a restore that was killed had left", "directory", path)
	}
}
