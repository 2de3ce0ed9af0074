package message

import (
	"github.com/mileusna/useragent"

	"countersign/internal/locale"
)

// Browser names a browser and its system in words, as far as a User-Agent tells.
func Browser(l *locale.Locale, userAgent string) string {
	if len(userAgent) > 400 {
		userAgent = userAgent[:400]
	}
	ua := useragent.Parse(userAgent)
	switch {
	case ua.Name == "" || userAgent == "":
		return l.T("browser.unknown")
	case ua.OS == "":
		return ua.Name
	}
	return l.T("browser.on", "Browser", ua.Name, "System", ua.OS)
}
