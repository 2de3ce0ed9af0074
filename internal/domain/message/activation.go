package message

import (
	"fmt"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/locale"
)

// kindActivation is the text message with the link by which a phone becomes
// the security phone of a user.
const kindActivation Kind = "activation"

// Activation carries the link to the phone that an administrator has written
// down. The number may be wrong: it says no more of the user than a mask.
func (s Service) Activation(l *locale.Locale, i account.Identity, number, token string, hours int, expires time.Time) Message {
	return Message{Account: string(i.Account), Channel: SMS, Kind: string(kindActivation), To: number, Locale: l.Tag, ExpiresAt: expires,
		Text:   l.T("sms.activation", "Service", s.Name, "Name", account.MaskEmail(i.Name()), "URL", s.URL+"/activate/"+token, "Count", hours),
		Params: map[string]string{"service": s.Name, "url": s.URL + "/activate/" + token, "hours": fmt.Sprint(hours)}}
}
