package admin

import (
	"context"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/posture"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// OverviewDays is how far back the overview looks.
const OverviewDays = 90

const (
	// daysKept is how long the days of accounts are remembered.
	daysKept = 400
	// atRiskShown is how many users at risk are named at once.
	atRiskShown = 3
	// countBatch is how many sign-ins one write counts.
	countBatch = 2000
)

// An Overview is what the console says of an account as a whole.
type Overview struct {
	Census   posture.Census
	Score    int
	Missing  []posture.Measure // what would raise the score
	Days     []posture.Day     // the last OverviewDays, oldest first; the last one is today
	Risks    []AtRisk          // the gravest first
	Kinds    []Kind
	Report   store.CredentialReport
	ReportAt time.Time        // from when on a new one can be made
	Chain    store.AuditCheck // the last look at the audit; the zero one: nobody has looked
	Now      time.Time
}

// An AtRisk is a number of users with one thing that is worth a look.
type AtRisk struct {
	Risk  posture.Risk
	Count int
	Query store.UserQuery // finds them all
	First []Row           // some of them
}

// A Kind is how many users have a kind of device.
type Kind struct {
	Method factor.Method // empty: none at all
	Users  int
}

// riskQueries find the users whom the overview counts.
var riskQueries = map[posture.Risk]store.UserQuery{
	posture.Distrusted:   {Activity: "distrusted"},
	posture.CounterBack:  {Activity: "counter_back"},
	posture.Guessed:      {Activity: "guessed"},
	posture.LockedOut:    {Activity: "locked_out"},
	posture.NoMFA:        {Activity: "can_sign_in", MFA: "none"},
	posture.OnlySMS:      {Activity: "can_sign_in", MFA: "sms"},
	posture.NoCodes:      {Activity: "no_codes"},
	posture.UnsavedCodes: {Activity: "unsaved_codes"},
	posture.NeverUsed:    {Activity: "never_used"},
	posture.Idle:         {Activity: "stale", Sort: "last_signin"},
}

// Overview looks at an account as a whole.
func (f *Flow) Overview(ctx context.Context, s prove.Signed) (o Overview, err error) {
	if err := reads(s); err != nil {
		return o, err
	}
	r, a := f.DB.Read(ctx), s.Identity.Account
	o.Now = f.DB.Now()
	settings, err := r.Settings(a)
	if err != nil {
		return o, err
	}
	if o.Census, err = r.Census(a, settings.AllowSMS); err != nil {
		return o, err
	}
	owner, err := f.ownerPosture(r, a)
	if err != nil {
		return o, err
	}
	owner.Census, owner.Rule = o.Census, settings.MFAOperation
	o.Score, o.Missing = owner.Score()
	today := posture.DayOf(o.Now)
	days, err := r.Days(a, today-OverviewDays+1)
	if err != nil {
		return o, err
	}
	o.Days = posture.Days(days, today, OverviewDays)
	last := &o.Days[OverviewDays-1]
	last.Known, last.Users, last.Protected, last.Resistant = true, o.Census.Users, o.Census.Protected, o.Census.Resistant
	for _, risk := range posture.Risks {
		one := AtRisk{Risk: risk, Count: o.Census.AtRisk[risk], Query: riskQueries[risk]}
		if one.Count == 0 {
			continue
		}
		q := one.Query
		q.Limit, q.Now = atRiskShown, o.Now
		users, err := r.Users(a, q)
		if err != nil {
			return o, err
		}
		for _, u := range users {
			one.First = append(one.First, rowOf(u, settings))
		}
		o.Risks = append(o.Risks, one)
	}
	o.Kinds = []Kind{{factor.Passkey, o.Census.Passkey}, {factor.U2F, o.Census.U2F}, {factor.VirtualMFA, o.Census.VirtualMFA}, {factor.SMS, o.Census.SMS}, {"", o.Census.AtRisk[posture.NoMFA]}}
	if o.Report, err = r.CredentialReport(a); err != nil {
		return o, err
	}
	if !o.Report.MadeAt.IsZero() {
		o.ReportAt = o.Report.MadeAt.Add(posture.ReportEvery)
	}
	o.Chain, err = r.AuditCheck(a)
	_, err = store.HasRow(err)
	return o, err
}

// ownerPosture is how well the owner of an account is protected.
func (f *Flow) ownerPosture(r *store.Reader, a account.ID) (p posture.Account, err error) {
	owner, err := r.Owner(a)
	if err != nil {
		return p, err
	}
	facts, err := r.Facts(owner, nil)
	if err != nil {
		return p, err
	}
	p.OwnerProtected, p.OwnerResistant = facts.MFA(), facts.Passkeys+facts.U2F > 0
	unsaved, err := r.AnyUnsavedCode(a, owner.ID)
	if err == nil && !unsaved {
		p.OwnerCodes = facts.RecoveryCodes
	}
	return p, err
}

// CountDays keeps today's numbers of every account, and counts the sign-ins
// since it was last called. It is a job: the overview shows what it kept.
func (f *Flow) CountDays(ctx context.Context) error {
	actor := audit.Housekeeping("count days")
	var accounts []account.ID
	err := f.DB.Read(ctx).EachOwner(func(a account.Account, _ account.Identity) error {
		accounts = append(accounts, a.ID)
		return nil
	})
	for _, a := range accounts {
		if err != nil {
			return err
		}
		err = f.countDay(ctx, actor, a)
	}
	if err != nil {
		return err
	}
	return f.DB.Write(ctx, actor, func(tx *store.Tx) error { return tx.DropDays(posture.DayOf(tx.Now) - daysKept) })
}

func (f *Flow) countDay(ctx context.Context, actor audit.Actor, a account.ID) error {
	// Counting takes its time in a large account, and keeps nobody waiting.
	r := f.DB.Read(ctx)
	settings, err := r.Settings(a)
	if err != nil {
		return err
	}
	census, err := r.Census(a, settings.AllowSMS)
	if err != nil {
		return err
	}
	if err := f.DB.Write(ctx, actor, func(tx *store.Tx) error { return tx.KeepCensus(a, census) }); err != nil {
		return err
	}
	for more := true; more; {
		err := f.DB.Write(ctx, actor, func(tx *store.Tx) (err error) {
			more, err = tx.CountSignIns(a, countBatch)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
