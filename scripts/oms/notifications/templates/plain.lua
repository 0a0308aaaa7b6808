-- Whatever the staff has to say.
return {
  subject = "{{subject}}",
  body = "{{body}}",
  sms = "{{body}}",
}
