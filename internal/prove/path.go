package prove

import (
	"net/url"
	"strings"
)

// LocalPath returns target if it is a path on this site, else nothing: there
// is no redirect to anywhere else.
func LocalPath(target string) string {
	if len(target) > 1024 || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.ContainsAny(target, "\\\x00\r\n\t") {
		return ""
	}
	u, err := url.Parse(target)
	if err != nil || u.Host != "" || u.Scheme != "" || u.User != nil || strings.HasPrefix(u.Path, "//") || strings.Contains(u.Path, "\\") {
		return ""
	}
	return u.RequestURI()
}
