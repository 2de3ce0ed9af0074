package admin

import (
	"slices"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/passkey"
	"countersign/internal/fault"
)

// ErrModelForm says that something is no AAGUID of a model.
var ErrModelForm = fault.New(fault.Invalid, "settings.model_form").On("passkey_models")

// ParseModels takes AAGUIDs apart that are separated by spaces, lines, commas
// or semicolons, and returns each once, in small letters. Those before one
// that is none are returned with the fault.
func ParseModels(s string) (models []string, err error) {
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\r\n,;", r) }) {
		a, err := passkey.ParseAAGUID(word)
		if err != nil || a.IsZero() { // zero is what authenticators give that do not say which model they are
			return models, ErrModelForm.With("Model", word)
		}
		id := a.String()
		if slices.Contains(models, id) {
			continue
		}
		if len(models) == account.ModelsMax { // at once: the text may be long
			return models, account.ErrModels
		}
		models = append(models, id)
	}
	return models, nil
}
