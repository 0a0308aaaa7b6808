-- To a customer: we have the order.
return {
  subject = "Your order {{order_id}}",
  body = [[
Hello,

thank you for your order {{order_id}} of {{created_at}}.

{{lines}}

Total: {{total}}

We will write again when it is on its way.
]],
  sms = "Thank you for your order {{order_id}}, {{total}}.",
}
