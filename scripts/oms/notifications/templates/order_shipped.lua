-- To a customer: the order left the house.
return {
  subject = "Your order {{order_id}} is on its way",
  body = [[
Hello,

your order {{order_id}} of {{created_at}} is on its way:

{{lines}}
]],
  sms = "Your order {{order_id}} is on its way.",
}
