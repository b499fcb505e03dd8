package preset

import (
	"testing"
)

func TestFind(t *testing.T) {
	for _, row := range []struct{ name, preset, cloud, region, address, wrong string }{
		{"a provider", "gmail", "", "", "smtp.gmail.com:587", ""},
		{"nobody", "", "", "", "", ""},
		{"a region is put in its place", "ses", "", "eu-west-1", "email-smtp.eu-west-1.amazonaws.com:587", ""},
		{"a region is left open", "ses", "", "", "email-smtp.{region}.amazonaws.com:587", ""},
		{"a cloud", "microsoft365", "us-gov-high", "", "smtp.office365.us:587", ""},
		{"a cloud whose server nobody knows", "microsoft365", "us-dod", "", "", ""},
		{"a name with a typo", "gmial", "", "", "", `preset: "gmial" is not known; did you mean "gmail"?`},
		{"a name in other letters", "Microsoft365_Graph", "", "", "", `preset: "Microsoft365_Graph" is not known; did you mean "microsoft365-graph"?`},
		{"the file for everybody", "generic", "", "", "", `preset: "generic" is not known; write one of azure, brevo, capture, cloudflare, fastmail, gmail, gmail-api, icloud, mailgun, mailjet, mailtrap, microsoft365, microsoft365-connector, microsoft365-graph, microsoft365-hve, outlook, postmark, resend, sendgrid, ses, smtp2go, socketlabs, sparkpost, workspace-relay, yahoo, zeptomail, zoho, or leave it out for a server of your own`},
		{"a cloud with a typo", "microsoft365", "us-gov-hihg", "", "", `cloud: "us-gov-hihg" is not known; did you mean "us-gov-high"?`},
		{"a cloud there is not", "microsoft365", "germany", "", "", `cloud: "germany" is not known; write one of china, us-dod, us-gov-high, or leave it out for the worldwide one`},
		{"a cloud of one that has none", "gmail", "eu", "", "", `cloud: preset gmail has one cloud only; leave it out`},
		{"a cloud of nobody", "", "eu", "", "", `cloud: an upstream without preset has one cloud only; leave it out`},
		{"a region of one that has none", "gmail", "", "eu-west-1", "", `region: preset gmail has no regions; leave it out`},
		{"a region that is a cloud", "mailgun", "", "eu", "", `region: preset mailgun calls it a cloud; write cloud: eu`},
		{"a region that is a host", "ses", "", "evil.example/", "", `region: "evil.example/" is not a region; write the AWS region of your identities, such as eu-west-1`},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, err := Find(row.preset, row.cloud, row.region)
			if row.wrong != "" {
				if err == nil || err.Error() != row.wrong {
					t.Errorf("got %v\nwant %s", err, row.wrong)
				}
				return
			}
			if err != nil || p.Address != row.address {
				t.Errorf("got %v, %v", p, err)
			}
		})
	}
}

func TestACloudChangesWhatItNamesOnly(t *testing.T) {
	p, err := Find("microsoft365", "china", "")
	if err != nil {
		t.Fatal(err)
	}
	if p.OAuth.TokenURL != "https://login.partner.microsoftonline.cn/{tenant}/oauth2/v2.0/token" || p.OAuth.ClientAuth != "post" {
		t.Errorf("oauth is %+v", p.OAuth)
	}
	if p.Limits.Connections != 2 || len(p.Replies) == 0 || len(p.Alternatives) != 0 {
		t.Errorf("it lost what all clouds have, or kept what they do not: %+v", p)
	}
	if again, _ := Find("microsoft365", "", ""); again.Address != "smtp.office365.com:587" {
		t.Errorf("the worldwide one is at %s now", again.Address)
	}
}

func TestTLSAt(t *testing.T) {
	p, err := Find("gmail", "", "")
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"smtp.gmail.com:587": "starttls", "smtp.gmail.com:465": "implicit", "127.0.0.1:465": "implicit", "127.0.0.1:2525": "starttls",
	} {
		if got := p.TLSAt(address); got != want {
			t.Errorf("at %s: %s, want %s", address, got, want)
		}
	}
}

func TestAt(t *testing.T) {
	for host, want := range map[string]string{
		"smtp.gmail.com": "gmail", "SMTP.Office365.com": "microsoft365", "email-smtp.eu-west-1.amazonaws.com": "ses", "email-smtp-fips.us-east-1.amazonaws.com": "ses",
		"email-smtp.amazonaws.com": "", "smtp.gmail.com.evil.example": "", "mail.example.com": "", "": "", "smtp-broadcasts.postmarkapp.com": "postmark",
	} {
		if got := At(host); got != want {
			t.Errorf("%q is %q, want %q", host, got, want)
		}
	}
}
