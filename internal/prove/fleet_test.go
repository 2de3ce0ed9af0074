package prove_test

import (
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

func TestAFleetAlarmIsHeardOfElsewhereWithinASecond(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Prover.FleetAlarm = 3
		app := w.Bind(w.Owner(alice))
		w.Bind(w.Owner("bob@example.com"))
		elsewhere := *w.Prover
		elsewhere.Fleet = &prove.Fleet{}
		price := func(p *prove.Prover) (n int) {
			err := w.DB.Write(t.Context(), audit.Housekeeping("test"), func(tx *store.Tx) error {
				bob, err := tx.IdentityByEmail("bob@example.com")
				if err == nil {
					n, err = p.PriceIn(tx, w.Visitor, bob)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if here, there := price(w.Prover), price(&elsewhere); here != 1 || there != 1 {
			t.Errorf("before the alarm: %d and %d codes", here, there)
		}
		w.Guess(alice, app, 1, 3)
		if here := price(w.Prover); here != 2 {
			t.Errorf("where it happened: %d codes", here)
		}
		if there := price(&elsewhere); there != 1 {
			t.Errorf("elsewhere at once: %d codes: nothing was remembered", there)
		}
		w.Clock.Advance(time.Second)
		if there := price(&elsewhere); there != 2 {
			t.Errorf("elsewhere after a second: %d codes", there)
		}
	})
}
