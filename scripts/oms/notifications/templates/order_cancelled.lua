-- To a customer: there will be no delivery, and the money comes back.
return {
  subject = "Your order {{order_id}} was cancelled",
  body = [[
Hello,

your order {{order_id}} of {{created_at}} was cancelled: {{reason}}.

{{lines}}

What you paid of {{total}} is given back the way it came.
]],
  sms = "Your order {{order_id}} was cancelled: {{reason}}. {{total}} is given back.",
}
