package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"sync"

	"countersign/internal/front/request"
)

//go:embed assets
var assetFS embed.FS

// An asset is a file that never changes under its path, which holds its hash.
type asset struct {
	kind  string
	plain []byte
	gzip  func() []byte // made when first asked for
}

var (
	assets     = map[string]asset{}  // by path
	assetPaths = map[string]string{} // by name
)

var kinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func init() {
	names, err := fs.Glob(assetFS, "assets/*")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		b, err := assetFS.ReadFile(name)
		if err != nil {
			panic(err) // embedded
		}
		sum := sha256.Sum256(b)
		base := path.Base(name)
		p := "/assets/" + hex.EncodeToString(sum[:6]) + "/" + base
		assets[p] = asset{kind: kinds[path.Ext(base)], plain: b, gzip: sync.OnceValue(func() []byte {
			var z bytes.Buffer
			g, _ := gzip.NewWriterLevel(&z, gzip.BestCompression)
			_, _ = g.Write(b)
			_ = g.Close()
			return z.Bytes()
		})}
		assetPaths[base] = p
	}
}

// AssetPath is where the asset named is served.
func AssetPath(name string) string { return assetPaths[name] }

// ServeAsset serves the assets.
func (k *Kit) ServeAsset(w http.ResponseWriter, r *http.Request) error {
	a, ok := assets[r.URL.Path]
	if !ok {
		return request.ErrNotFound
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Add("Vary", "Accept-Encoding")
	body := a.plain
	if acceptsEncoding(r, "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.gzip()
	}
	_, err := w.Write(body)
	if err != nil {
		return nil //nolint:nilerr // the client is gone
	}
	return nil
}
